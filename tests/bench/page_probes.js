// What tests/bench/page.py measures inside the page.
window.probes = {
  // Milliseconds since navigation until there were: tiles without pictures, a photograph, all
  // photographs in sight, all tiles in sight with photograph and map.
  first: { frames: 0, photo: 0, photos: 0, tiles: 0 },
  keyPainted: 0,
  keysDown: 0,
  coloursSeen: [],

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
  watchFirst() {
    const tiles = this.inSight();
    const note = (what, isThere) => {
      if (this.first[what] === 0 && tiles.length > 0 && isThere) this.first[what] = performance.now();
    };
    note("frames", true);
    note("photo", tiles.some(this.photoThere));
    note("photos", tiles.every(this.photoThere));
    note("tiles", tiles.every((tile) => this.photoThere(tile) && this.mapThere(tile)));
    if (this.first.tiles === 0) requestAnimationFrame(() => this.watchFirst());
  },

  countKeys() {
    this.keysDown = 0;
    window.addEventListener("keydown", () => this.keysDown++, true);
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
          this.coloursSeen.push(document.querySelector(".tile .map")?.src);
        };
        port2.postMessage(0);
      });
    };
    window.addEventListener("keydown", onKey, true);
  },
};
window.probes.watchFirst();
