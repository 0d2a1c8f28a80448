/**
 * Photographs by their address: each is fetched once, those wanted last come first, and what
 * has scrolled away before its turn is not fetched at all. Kept up to a size. The first screen of
 * a category comes in a few answers: a request a photograph takes far longer.
 */
import { useCallback, useSyncExternalStore } from "react";
import { dataUrl } from "./dataUrl";
import { heldPhotos, holdPhotos } from "./heldPhotos";

/** A browser holds six connections to a server; acts and events need theirs. */
const AT_ONCE = 4;
const KEPT_BYTES = 96 * 1024 * 1024;
const RETRY_MS = 2000;
/** In one answer, so that the first rows do not wait for the last. */
const TOGETHER = 24;

interface Photo {
  state: "waiting" | "loading" | "here" | "failed";
  src: string | undefined;
  listeners: Set<() => void>;
}

/** In the order they were last wanted, the latest at the end. */
const photos = new Map<string, Photo>();
const waiting: string[] = [];
/** What this turn of the page wants, in its own order. */
let wantedNow: string[] = [];
/** Whether the next turn is the first of a category. */
let isFirstTurn = false;
let loading = 0;
let keptBytes = 0;

/** The address to show a photograph by, once it is here. */
export function usePhoto(url: string): string | undefined {
  const subscribe = useCallback((listener: () => void) => want(url, listener), [url]);
  return useSyncExternalStore(subscribe, () => photos.get(url)?.src);
}

/** Says that a category is opening: what it wants first is a whole screen. */
export function expectScreen(): void {
  isFirstTurn = true;
}

/** Resolves when all photographs that are wanted are here, or after so long. */
export function photosHere(atMostMs: number): Promise<void> {
  return new Promise((resolve) => {
    const until = performance.now() + atMostMs;
    const look = () => {
      const isIdle = loading === 0 && waiting.length === 0 && wantedNow.length === 0;
      if ((isIdle && photos.size > 0) || performance.now() > until) resolve();
      else setTimeout(look, 20);
    };
    look();
  });
}

function want(url: string, listener: () => void): () => void {
  const photo = photos.get(url) ?? {
    state: "failed",
    src: undefined,
    listeners: new Set(),
  };
  photo.listeners.add(listener);
  photos.delete(url);
  photos.set(url, photo);
  if (photo.state === "failed") enqueue(url, photo);
  return () => photo.listeners.delete(listener);
}

function enqueue(url: string, photo: Photo): void {
  photo.state = "waiting";
  if (wantedNow.length === 0) queueMicrotask(startTurn);
  wantedNow.push(url);
}

function startTurn(): void {
  const wanted = wantedNow;
  wantedNow = [];
  if (isFirstTurn) {
    for (let from = 0; from < wanted.length; from += TOGETHER)
      void fetchTogether(wanted.slice(from, from + TOGETHER));
  } else waiting.push(...wanted.reverse());
  isFirstTurn = false;
  fetchNext();
}

/** Shows photographs of one study, of which one answer brings what is not held; where that fails, each by itself. */
async function fetchTogether(urls: readonly string[]): Promise<void> {
  loading++;
  const held = await heldPhotos(urls);
  if (held) {
    show(held);
    const missing = urls.filter((url) => !held.has(url));
    if (missing.length > 1) {
      const found = await askTogether(missing);
      show(found);
      void holdPhotos(found);
    }
  }
  loading--;
  waiting.push(...urls.filter((url) => photos.get(url)?.state === "waiting").reverse());
  fetchNext();
}

/** The photographs by their addresses; none where the answer does not come. */
async function askTogether(urls: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const folder = urls[0]?.slice(0, urls[0].lastIndexOf("/"));
  const ids = urls.map((url) => url.slice(url.lastIndexOf("/") + 1));
  try {
    const response = await fetch(`${folder}?${ids.map((id) => `image_id=${id}`).join("&")}`);
    const found: Record<string, string> = response.ok ? await response.json() : {};
    return new Map(Object.entries(found).map(([id, src]) => [`${folder}/${id}`, src]));
  } catch {
    return new Map();
  }
}

function show(found: ReadonlyMap<string, string>): void {
  for (const [url, src] of found) {
    const photo = photos.get(url);
    if (photo) keep(photo, src);
  }
}

function fetchNext(): void {
  while (loading < AT_ONCE) {
    const url = waiting.pop();
    if (url === undefined) return;
    const photo = photos.get(url);
    if (photo?.state !== "waiting") continue;
    if (photo.listeners.size === 0) photos.delete(url);
    else void fetchPhoto(url, photo);
  }
}

async function fetchPhoto(url: string, photo: Photo): Promise<void> {
  photo.state = "loading";
  loading++;
  try {
    const held = (await heldPhotos([url]))?.get(url);
    if (held !== undefined) return keep(photo, held);
    const response = await fetch(url);
    if (response.ok) {
      const src = await addressOf(response);
      keep(photo, src);
      void holdPhotos(new Map([[url, src]]));
    } else fail(url, photo, response.status >= 500 || response.status === 429);
  } catch {
    fail(url, photo, true);
  } finally {
    loading--;
    fetchNext();
  }
}

async function addressOf(response: Response): Promise<string> {
  const bytes = new Uint8Array(await response.arrayBuffer());
  return dataUrl(bytes, response.headers.get("Content-Type") ?? "");
}

function keep(photo: Photo, src: string): void {
  photo.state = "here";
  photo.src = src;
  keptBytes += src.length;
  for (const listener of photo.listeners) listener();
  forgetOldest();
}

function fail(url: string, photo: Photo, isWorthAnotherTry: boolean): void {
  photo.state = "failed";
  if (!isWorthAnotherTry) return;
  setTimeout(() => {
    if (photo.state === "failed" && photo.listeners.size > 0) enqueue(url, photo);
  }, RETRY_MS);
}

function forgetOldest(): void {
  for (const [url, photo] of photos) {
    if (keptBytes <= KEPT_BYTES) return;
    if (photo.state !== "here" || photo.listeners.size > 0) continue;
    keptBytes -= photo.src?.length ?? 0;
    photos.delete(url);
  }
}
