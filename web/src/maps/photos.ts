/**
 * Photographs by their address: each is fetched once, those wanted last come first, and what
 * has scrolled away before its turn is not fetched at all. Kept up to a size.
 */
import { useCallback, useSyncExternalStore } from "react";
import { dataUrl } from "./dataUrl";

/** A browser holds six connections to a server; acts and events need theirs. */
const AT_ONCE = 4;
const KEPT_BYTES = 96 * 1024 * 1024;
const RETRY_MS = 2000;

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
  const subscribe = useCallback((listener: () => void) => want(url, listener), [url]);
  return useSyncExternalStore(subscribe, () => photos.get(url)?.src);
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
    const response = await fetch(url);
    if (response.ok) keep(photo, await addressOf(response));
    else fail(url, photo, response.status >= 500 || response.status === 429);
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
