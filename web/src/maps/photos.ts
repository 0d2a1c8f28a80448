/**
 * Photographs by their address: each is fetched once, those wanted last come first, and what
 * has scrolled away before its turn is not fetched at all. Kept up to a size. Several come in one
 * answer: a request a photograph takes far longer.
 */
import { useLayoutEffect, useReducer } from "react";
import { dataUrl } from "./dataUrl";
import { heldPhotos, holdPhotos } from "./heldPhotos";

/**
 * Answers asked for at once and photographs in one: the first rows come first. A browser holds six connections to a
 * server; acts and events need theirs. Each by itself where later visits hold answers alone.
 */
const [AT_ONCE, TOGETHER] = globalThis.caches ? [2, 24] : [4, 1];
const KEPT_BYTES = 96 * 1024 * 1024;
const RETRY_MS = 2000;
const LONGEST_ANSWER_MS = 60_000;

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
let loading = 0;
let keptBytes = 0;

/** The address to show a photograph by, once it is here. */
export function usePhoto(url: string): string | undefined {
  const [, showAgain] = useReducer((times: number) => times + 1, 0);
  const src = photos.get(url)?.src;
  // Before the tiles are painted without it: a screenful of them takes a while.
  useLayoutEffect(() => {
    const end = want(url, showAgain);
    // It may have come while the other tiles were drawn.
    if (photos.get(url)?.src !== src) showAgain();
    return end;
  }, [url, src]);
  return src;
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
  waiting.push(...wantedNow.reverse());
  wantedNow = [];
  fetchNext();
}

function fetchNext(): void {
  while (loading < AT_ONCE) {
    const urls = takeWaiting();
    if (urls.length === 0) return;
    void fetchPhotos(urls);
  }
}

/** The next photographs that are still wanted. */
function takeWaiting(): string[] {
  const urls: string[] = [];
  while (urls.length < TOGETHER) {
    const url = waiting.pop();
    if (url === undefined) break;
    const photo = photos.get(url);
    if (photo?.state !== "waiting") continue;
    if (photo.listeners.size === 0) photos.delete(url);
    else {
      photo.state = "loading";
      urls.push(url);
    }
  }
  return urls;
}

/** Shows the photographs that are held, of the others what one answer brings, and what is missing still each by itself. */
async function fetchPhotos(urls: readonly string[]): Promise<void> {
  loading++;
  try {
    const held = await heldPhotos(urls);
    show(held);
    const missing = urls.filter((url) => !held.has(url));
    const found = missing.length > 1 ? await askTogether(missing) : new Map<string, string>();
    show(found);
    void holdPhotos(found);
    await Promise.all(missing.filter((url) => !found.has(url)).map(fetchAlone));
  } finally {
    loading--;
    fetchNext();
  }
}

/** Photographs of one study by their addresses; none where the answer does not come. */
async function askTogether(urls: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const folder = urls[0]?.slice(0, urls[0].lastIndexOf("/"));
  const ids = urls.map((url) => url.slice(url.lastIndexOf("/") + 1));
  try {
    const response = await ask(`${folder}?${ids.map((id) => `image_id=${id}`).join("&")}`);
    const found: Record<string, string> = response.ok ? await response.json() : {};
    return new Map(Object.entries(found).map(([id, src]) => [`${folder}/${id}`, src]));
  } catch {
    return new Map();
  }
}

/** A connection may be open with nobody at its other end; it must not keep the others' place. */
function ask(url: string): Promise<Response> {
  return fetch(url, { signal: AbortSignal.timeout(LONGEST_ANSWER_MS) });
}

function show(found: ReadonlyMap<string, string>): void {
  for (const [url, src] of found) {
    const photo = photos.get(url);
    if (photo) keep(photo, src);
  }
}

async function fetchAlone(url: string): Promise<void> {
  try {
    const response = await ask(url);
    if (response.ok) {
      const found = new Map([[url, await addressOf(response)]]);
      show(found);
      void holdPhotos(found);
    } else fail(url, response.status >= 500 || response.status === 429);
  } catch {
    fail(url, true);
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

function fail(url: string, isWorthAnotherTry: boolean): void {
  const photo = photos.get(url);
  if (!photo) return;
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
