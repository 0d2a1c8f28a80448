// @vitest-environment happy-dom
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import { beforeEach, expect, test, vi } from "vitest";

const FOLDER = "/api/studies/s/annotators/a/images";

beforeEach(() => vi.resetModules());

/** Shows photographs as one turn of the page; what was fetched for them, and what they show then. */
async function shown(ids: string[], togetherStatus: number, isOpening = true) {
  const fetched: string[] = [];
  vi.stubGlobal("fetch", async (url: string) => {
    fetched.push(url);
    if (!url.includes("?"))
      return new Response(url.slice(-1), { headers: { "Content-Type": "image/png" } });
    const asked = new URLSearchParams(url.split("?")[1]).getAll("image_id");
    const addresses = Object.fromEntries(
      asked.map((id) => [id, `data:image/png;base64,${btoa(id)}`]),
    );
    return new Response(JSON.stringify(addresses), { status: togetherStatus });
  });
  const { expectScreen, photosHere, usePhoto } = await import("./photos");
  const Photo = ({ id }: { id: string }) =>
    createElement("img", { src: usePhoto(`${FOLDER}/${id}`) });
  const root = document.createElement("div");
  if (isOpening) expectScreen();
  createRoot(root).render(ids.map((id) => createElement(Photo, { key: id, id })));
  await vi.waitFor(() => expect(root.querySelectorAll("img")).toHaveLength(ids.length));
  await photosHere(1000);
  await vi.waitFor(() => expect(root.querySelectorAll("img[src]")).toHaveLength(ids.length));
  return { fetched, sources: [...root.querySelectorAll("img")].map((img) => img.src) };
}

const AB = ["a", "b"].map((id) => `data:image/png;base64,${btoa(id)}`);

test("the first screen of a category comes in one answer", async () => {
  const { fetched, sources } = await shown(["a", "b"], 200);
  expect(fetched).toEqual([`${FOLDER}?image_id=a&image_id=b`]);
  expect(sources).toEqual(AB);
});

test("where that answer fails, each photograph is asked for", async () => {
  const { fetched, sources } = await shown(["a", "b"], 503);
  expect(fetched.slice(1)).toEqual([`${FOLDER}/a`, `${FOLDER}/b`]);
  expect(sources).toEqual(AB);
});

test("later each photograph is asked for by itself, as the browser keeps it", async () => {
  const { fetched } = await shown(["a", "b"], 200, false);
  expect(fetched).toEqual([`${FOLDER}/a`, `${FOLDER}/b`]);
});
