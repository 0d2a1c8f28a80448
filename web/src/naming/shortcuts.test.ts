import { expect, test } from "vitest";
import { listenToKeys } from "./shortcuts";
import { useNaming } from "./store";

const isPlain = () => useNaming.getState().plain;

test.each([
  ["it is let go", () => new KeyboardEvent("keyup", { key: "p" })],
  ["the window is left while it is held", () => new Event("blur")],
])("P hides the maps until %s", (_, end) => {
  const unlisten = listenToKeys();
  window.dispatchEvent(new KeyboardEvent("keydown", { key: "p" }));
  expect(isPlain()).toBe(true);
  window.dispatchEvent(end());
  expect(isPlain()).toBe(false);
  unlisten();
});
