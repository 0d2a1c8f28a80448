import { expect, test } from "vitest";
import { LOOKUP } from "./colormap";

const lightness = (value: number) => {
  const [r = 0, g = 0, b = 0] = LOOKUP.subarray(4 * value, 4 * value + 3);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};

test("a larger value is never darker and never more transparent", () => {
  for (let value = 1; value < 256; value++) {
    expect(lightness(value)).toBeGreaterThanOrEqual(lightness(value - 1) - 0.5);
    expect(LOOKUP[4 * value + 3]).toBeGreaterThanOrEqual(LOOKUP[4 * value - 1] ?? 0);
  }
});

test("nothing hides nothing, and the most hides the photograph", () => {
  expect(LOOKUP[3]).toBe(0);
  expect(LOOKUP[255 * 4 + 3]).toBe(255);
});
