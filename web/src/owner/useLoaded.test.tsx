import { act } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Loaded, useLoaded } from "./useLoaded";

let root: Root;
let loaded: Loaded<string>;

function Reader({ load }: { load: () => Promise<string> }) {
  loaded = useLoaded(load);
  return null;
}

const render = (load: () => Promise<string>) =>
  act(async () => root.render(<Reader load={load} />));

beforeEach(() => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  root = createRoot(document.createElement("div"));
});

afterEach(() => {
  act(() => root.unmount());
  vi.unstubAllGlobals();
});

test("what was loaded stays while the same fails to load again", async () => {
  const load = vi.fn(async () => "Ana's rows");
  await render(load);
  expect(loaded).toMatchObject({ data: "Ana's rows", failure: null });
  load.mockRejectedValueOnce("down");
  await act(async () => loaded.reload());
  expect(loaded).toMatchObject({ data: "Ana's rows", failure: "down" });
});

test("what was loaded for one question is no answer to another, slow or refused", async () => {
  await render(async () => "Ana's rows");
  await render(() => new Promise(() => {}));
  expect(loaded).toMatchObject({ data: null, failure: null });
  await render(async () => "Ana's rows");
  await render(() => Promise.reject("down"));
  expect(loaded).toMatchObject({ data: null, failure: "down" });
});

test("a refusal goes with the question that met it", async () => {
  await render(() => Promise.reject("down"));
  await render(() => new Promise(() => {}));
  expect(loaded).toMatchObject({ data: null, failure: null });
});

test("a slow answer shows though the next round has begun, and not once that has its own", async () => {
  const answers: ((rows: string) => void)[] = [];
  const load = () => new Promise<string>((resolve) => answers.push(resolve));
  await render(load);
  await act(async () => loaded.reload());
  await act(async () => loaded.reload());
  await act(async () => answers[0]?.("first"));
  expect(loaded.data).toBe("first");
  await act(async () => answers[2]?.("third"));
  await act(async () => answers[1]?.("second"));
  expect(loaded.data).toBe("third");
});
