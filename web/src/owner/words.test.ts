import { expect, test } from "vitest";
import { percent } from "./words";

test.each([
  [0, "0.0"],
  [0.0625, "6.2"], // 2 of 32
  [0.0635, "6.3"],
  [0.1875, "18.8"], // 3 of 16
  [0.8125, "81.2"], // 13 of 16
  [1, "100.0"],
])("a share of %d is written as the report writes it: %s", (share, words) => {
  expect(percent(share)).toBe(`${words}\u00a0%`);
});
