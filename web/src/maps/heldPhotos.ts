/**
 * Photographs held by their own addresses for later visits, whether they came alone or together:
 * the browser's own cache keeps answers as they came. Pages over plain http, but for this
 * machine's, have no such store.
 */
const NAME = "onoma/photos";
/** Opened when the page starts: the first screen waits for it. */
const opening = open();

/** Those of these photographs that are held and can be read, as data: addresses. */
export async function heldPhotos(urls: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const held = new Map<string, string>();
  const store = await opening;
  if (store === null) return held;
  const look = async (url: string) => {
    const answer = await store.match(url);
    if (answer) held.set(url, await answer.text());
  };
  await Promise.allSettled(urls.map(look));
  return held;
}

/** Holds photographs, as far as there is room. */
export async function holdPhotos(found: ReadonlyMap<string, string>): Promise<void> {
  const store = await opening;
  if (store === null) return;
  const puts = [...found].map(([url, src]) => store.put(url, new Response(src)));
  await Promise.allSettled(puts);
}

async function open(): Promise<Cache | null> {
  try {
    return (await globalThis.caches?.open(NAME)) ?? null;
  } catch {
    return null; // a browser that lets pages store nothing
  }
}
