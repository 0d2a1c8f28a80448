import { afterEach, expect, test, vi } from "vitest";
import { loadChoices, loadStudies, startMaps } from "./studies";

/** A server that gives one item of each list a page: its first, second and third. */
function serverHasPages(): void {
  vi.stubGlobal("fetch", async ({ url }: Request) => {
    const { pathname, searchParams } = new URL(url);
    const page = Number(searchParams.get("page_token") ?? 1);
    const list = pathname.split("/").at(-1)?.replace("-", "_") ?? "";
    const next_page_token = page < 3 ? `${page + 1}` : "";
    return new Response(JSON.stringify({ [list]: [{ name: `${list} ${page}` }], next_page_token }));
  });
}

const names = (list: { name: string }[]) => list.map(({ name }) => name);

afterEach(() => vi.unstubAllGlobals());

test("all studies are listed, not only the first page of them", async () => {
  serverHasPages();
  expect(names(await loadStudies())).toEqual(["studies 1", "studies 2", "studies 3"]);
});

test("a study can be made of all that the server has", async () => {
  serverHasPages();
  const { models, datasets, xnnSets } = await loadChoices();
  expect(names(models)).toEqual(["models 1", "models 2", "models 3"]);
  expect(names(datasets)).toEqual(["datasets 1", "datasets 2", "datasets 3"]);
  expect(names(xnnSets)).toEqual(["xnn_sets 1", "xnn_sets 2", "xnn_sets 3"]);
});

test("a request that is tried again is the same to the server until it went well", async () => {
  const ids: string[] = [];
  vi.stubGlobal("fetch", async (request: Request) => {
    const { request_id } = await request.json();
    ids.push(request_id);
    if (ids.length === 1) throw new TypeError("Failed to fetch");
    return new Response(JSON.stringify({ job: { job_id: "j" } }));
  });
  await expect(startMaps("s")).rejects.toThrow();
  await startMaps("s");
  await startMaps("s");
  expect(ids[1]).toBe(ids[0]);
  expect(ids[2]).not.toBe(ids[0]);
});
