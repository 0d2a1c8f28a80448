// What tests/bench/page.py measures inside the page.
window.probes = {
  firstPhotoAt: 0,
  fullScreenAt: 0,
  keyPainted: 0,

  isThere: (img) => img?.complete && img.naturalWidth > 0,
  photoThere: (tile) => probes.isThere(tile.querySelector(".photo")),
  mapThere: (tile) => probes.isThere(tile.querySelector(".map")),

  // Tiles whose boxes are in sight of the scroller.
  inSight() {
    const scroller = document.querySelector(".grid-scroller");
    if (!scroller) return [];
    const { top, bottom } = scroller.getBoundingClientRect();
    return [...document.querySelectorAll(".tile")].filter((tile) => {
      const box = tile.getBoundingClientRect();
      return box.bottom > top + 1 && box.top < bottom - 1;
    });
  },
  mapsPainted() {
    const tiles = this.inSight();
    return tiles.length > 0 && tiles.every(this.mapThere);
  },

  watchFirst() {
    const tiles = this.inSight();
    if (this.firstPhotoAt === 0 && tiles.some(this.photoThere)) this.firstPhotoAt = Date.now();
    if (tiles.length > 0 && tiles.every(this.photoThere)) this.fullScreenAt = Date.now();
    else requestAnimationFrame(() => this.watchFirst());
  },

  // For each row of the layout that is in sight: since when it lacks a tile or a picture.
  watchRows() {
    this.seen = { blank: 0, photo: 0, tiles: 0 };
    this.watching = true;
    const since = { blank: new Map(), photo: new Map() };
    const note = (kind, row, isMissing, now) => {
      if (!isMissing) since[kind].delete(row);
      else if (!since[kind].has(row)) since[kind].set(row, now);
      else this.seen[kind] = Math.max(this.seen[kind], now - since[kind].get(row));
    };
    const look = () => {
      if (!this.watching) return;
      const now = performance.now();
      const scroller = document.querySelector(".grid-scroller");
      const content = document.querySelector(".grid-content");
      const mounted = document.querySelectorAll(".tile");
      this.seen.tiles = Math.max(this.seen.tiles, mounted.length);
      const rows = new Map();
      const { top, bottom, height } = scroller.getBoundingClientRect();
      const start = content.getBoundingClientRect().top;
      const pitch = (mounted[0]?.offsetHeight ?? 112) + 8;
      for (const tile of mounted) {
        const at = Math.round((tile.getBoundingClientRect().top - start) / pitch);
        rows.set(at, [...(rows.get(at) ?? []), tile]);
      }
      const first = Math.max(0, Math.floor((top - start) / pitch));
      const last = Math.min(content.offsetHeight / pitch, (top - start + height) / pitch) - 1;
      const inSight = new Set();
      for (let at = first; at <= last; at++) {
        inSight.add(at);
        const tiles = rows.get(at) ?? [];
        const blank = tiles.length === 0 || !tiles.every((t) => this.photoThere(t) || this.mapThere(t));
        note("blank", at, blank, now);
        note("photo", at, tiles.length === 0 || !tiles.every(this.photoThere), now);
      }
      for (const kind of ["blank", "photo"]) {
        for (const at of since[kind].keys()) if (!inSight.has(at)) since[kind].delete(at);
      }
      requestAnimationFrame(look);
    };
    look();
  },
  rowsSeen() {
    this.watching = false;
    return this.seen;
  },

  // From the key's own time stamp to the frame after the one that its handlers have changed.
  startKey() {
    this.keyPainted = 0;
    const onKey = (event) => {
      if (["Control", "Shift"].includes(event.key)) return;
      window.removeEventListener("keydown", onKey, true);
      requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => {
          this.keyPainted = performance.now() - event.timeStamp;
        };
        port2.postMessage(0);
      });
    };
    window.addEventListener("keydown", onKey, true);
  },
};
window.probes.watchFirst();
