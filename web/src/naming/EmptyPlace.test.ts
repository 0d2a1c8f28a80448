import { expect, test } from "vitest";
import { nextCategory } from "./EmptyPlace";

const ALL = ["dress", "hat", "shirt"];

test("after a category comes the one after it", () => {
  expect(nextCategory(ALL, "dress", new Set(["hat"]))).toBe("hat");
});

test("after the last comes the first that was never looked at", () => {
  expect(nextCategory(ALL, "shirt", new Set(["dress"]))).toBe("hat");
});

test("once all were looked at, nothing comes after the last", () => {
  expect(nextCategory(ALL, "shirt", new Set(["dress", "hat"]))).toBeNull();
});
