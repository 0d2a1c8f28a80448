import { afterEach, beforeEach, expect, test } from "vitest";
import { listenToKeys } from "./shortcuts";
import { useNaming } from "./store";

const isPlain = () => useNaming.getState().plain;

let unlisten: () => void;

/** Whether the page leaves the key to the browser. */
const press = (key: string) =>
  window.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));

beforeEach(() => {
  unlisten = listenToKeys();
  useNaming.setState({ singleKeys: true, renaming: null, channel: null, dragged: null });
});

afterEach(() => {
  unlisten();
  document.body.replaceChildren();
});

test.each([
  ["it is let go", () => new KeyboardEvent("keyup", { key: "p" })],
  ["the window is left while it is held", () => new Event("blur")],
])("P hides the maps until %s", (_, end) => {
  window.dispatchEvent(new KeyboardEvent("keydown", { key: "p" }));
  expect(isPlain()).toBe(true);
  window.dispatchEvent(end());
  expect(isPlain()).toBe(false);
});

test("behind an open dialog no key does anything, wherever the focus is", () => {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("open", "");
  document.body.append(dialog);
  expect(press("p")).toBe(true);
  expect(isPlain()).toBe(false);
});

test("while nothing is loaded, no name is asked for, and the keys go on", () => {
  press("n");
  expect(useNaming.getState().renaming).toBeNull();
});

test("a name whose field is gone does not keep the focus from going on", () => {
  useNaming.setState({ renaming: "c1" });
  expect(press("x")).toBe(false);
  expect(press("Tab")).toBe(true);
});

test("with the single keys off, Space selects as the arrows do", () => {
  useNaming.setState({ singleKeys: false });
  expect(press("x")).toBe(true);
  expect(press(" ")).toBe(false);
});

test("a drag whose element is gone ends with the next press of the mouse", () => {
  useNaming.setState({ dragged: { concept: "c1" } });
  window.dispatchEvent(new Event("pointerdown"));
  expect(useNaming.getState().dragged).toBeNull();
});
