// @vitest-environment happy-dom
import { createElement, startTransition } from "react";
import { createRoot } from "react-dom/client";
import { beforeEach, expect, test, vi } from "vitest";

const SOON_ENOUGH = { timeout: 10_000 };
const FOLDER = "/api/studies/s/annotators/a/images";
const address = (id: string) => `data:image/png;base64,${btoa(id)}`;

/** A browser's store of answers, in memory. */
function stageCaches() {
  const texts = new Map<string, string>();
  const store = {
    match: async (url: string) => {
      const text = texts.get(url);
      return text === undefined ? undefined : new Response(text);
    },
    put: async (url: string, answer: Response) => void texts.set(url, await answer.text()),
  };
  vi.stubGlobal("caches", { open: async () => store });
  return texts;
}

/** A visit that shows photographs in one turn of the page; what was fetched for them. */
async function visit(
  ids: string[],
  togetherStatus: number | "never answered" = 200,
): Promise<string[]> {
  vi.resetModules();
  const fetched: string[] = [];
  vi.stubGlobal("fetch", async (url: string, { signal }: { signal: AbortSignal }) => {
    fetched.push(url.replace(FOLDER, ""));
    const asked = new URLSearchParams(url.split("?")[1]).getAll("image_id");
    if (asked.length === 0)
      return new Response(url.slice(-1), { headers: { "Content-Type": "image/png" } });
    if (togetherStatus === "never answered")
      return new Promise((_, fails) => signal.addEventListener("abort", fails));
    const addresses = Object.fromEntries(asked.map((id) => [id, address(id)]));
    return new Response(JSON.stringify(addresses), { status: togetherStatus });
  });
  const { usePhoto } = await import("./photos");
  const Photo = ({ id }: { id: string }) =>
    createElement("img", { src: usePhoto(`${FOLDER}/${id}`) });
  const page = document.createElement("div");
  const root = createRoot(page);
  root.render(ids.map((id) => createElement(Photo, { key: id, id })));
  await vi.waitFor(() => {
    const sources = [...page.querySelectorAll("img")].map((img) => img.getAttribute("src"));
    expect(sources).toEqual(ids.map(address));
  }, SOON_ENOUGH);
  root.unmount();
  return fetched;
}

beforeEach(() => vi.stubGlobal("caches", undefined));

test("photographs come in a few answers, what was wanted first in the first", async () => {
  stageCaches();
  const many = Array.from({ length: 26 }, (_, place) => `${place}`);
  const asked = (ids: string[]) => `?${ids.map((id) => `image_id=${id}`).join("&")}`;
  expect(await visit(many)).toEqual([asked(many.slice(0, 24)), asked(many.slice(24))]);
});

test("where an answer fails, each photograph is asked for", async () => {
  stageCaches();
  expect(await visit(["a", "b"], 503)).toEqual(["?image_id=a&image_id=b", "/a", "/b"]);
});

test("where an answer never comes, each photograph is asked for after a while", async () => {
  stageCaches();
  const waits = vi.spyOn(AbortSignal, "timeout").mockImplementation(() => {
    const soon = new AbortController();
    setTimeout(() => soon.abort(), 5);
    return soon.signal;
  });
  expect(await visit(["a", "b"], "never answered")).toEqual(["?image_id=a&image_id=b", "/a", "/b"]);
  waits.mockRestore();
});

test("what came is held for later visits, whatever they show first", async () => {
  const texts = stageCaches();
  await visit(["a", "b"]);
  await visit(["e"]);
  await vi.waitFor(() => expect(texts.size).toBe(3), SOON_ENOUGH);
  expect(await visit(["e", "b", "c", "d"])).toEqual(["?image_id=c&image_id=d"]);
  await vi.waitFor(() => expect(texts.size).toBe(5), SOON_ENOUGH);
  expect(await visit(["c", "a"])).toEqual([]);
});

test("where what is held cannot be read, photographs come from the server, one answer after another", async () => {
  const unreadable = () => Promise.reject(new Error("storage"));
  vi.stubGlobal("caches", { open: async () => ({ match: unreadable, put: unreadable }) });
  const many = Array.from({ length: 60 }, (_, place) => `${place}`);
  expect(await visit(many)).toHaveLength(3);
});

test("one photograph that cannot be read leaves the others that are held", async () => {
  const texts = stageCaches();
  await visit(["a", "b"]);
  await vi.waitFor(() => expect(texts.size).toBe(2), SOON_ENOUGH);
  const store = await caches.open("");
  const match = vi.spyOn(store, "match").mockRejectedValueOnce(new Error("storage"));
  expect(await visit(["b", "a"])).toEqual(["/b"]);
  expect(match).toHaveBeenCalledTimes(2);
});

test("a browser that holds nothing asks for each, as its own cache keeps each", async () => {
  expect(await visit(["a", "b"])).toEqual(["/a", "/b"]);
});

test("a photograph that comes while the other tiles are drawn shows", async () => {
  vi.resetModules();
  let answer = () => {};
  vi.stubGlobal("fetch", async (url: string) => {
    await new Promise<void>((resolve) => {
      answer = resolve;
    });
    return new Response(url.slice(-1), { headers: { "Content-Type": "image/png" } });
  });
  const { usePhoto } = await import("./photos");
  const Photo = () => createElement("img", { src: usePhoto(`${FOLDER}/a`) });
  const Slow = () => {
    answer();
    const until = performance.now() + 20;
    while (performance.now() < until);
    return null;
  };
  const [before, page] = [document.createElement("div"), document.createElement("div")];
  const roots = [before, page].map((place) => createRoot(place));
  roots[0]?.render(createElement(Photo));
  const source = (place: HTMLElement) => place.querySelector("img")?.getAttribute("src");
  await vi.waitFor(() => expect(before.querySelector("img")).not.toBeNull(), SOON_ENOUGH);
  startTransition(() => {
    const slow = Array.from({ length: 10 }, (_, key) => createElement(Slow, { key }));
    roots[1]?.render([createElement(Photo, { key: "a" }), slow]);
  });
  await vi.waitFor(() => expect(source(before)).toBe(address("a")), SOON_ENOUGH);
  await vi.waitFor(() => expect(source(page)).toBe(address("a")), { timeout: 3000 });
  for (const root of roots) root.unmount();
});
