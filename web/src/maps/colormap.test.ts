import { describe, expect, test } from "vitest";
import { type Colours, LOOKUPS } from "./colormap";

describe.each(Object.keys(LOOKUPS) as Colours[])("%s", (colours) => {
  const table = LOOKUPS[colours];

  const lightness = (value: number) => {
    const [r = 0, g = 0, b = 0] = table.subarray(4 * value, 4 * value + 3);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };

  test("a larger value is never darker and never more transparent", () => {
    for (let value = 1; value < 256; value++) {
      expect(lightness(value)).toBeGreaterThanOrEqual(lightness(value - 1) - 0.5);
      expect(table[4 * value + 3]).toBeGreaterThanOrEqual(table[4 * value - 1] ?? 0);
    }
  });

  test("nothing hides nothing, and the most hides the photograph", () => {
    expect(table[3]).toBe(0);
    expect(table[255 * 4 + 3]).toBe(255);
  });
});

test("the ends are those of matplotlib", () => {
  const most = (colours: Colours) => [...LOOKUPS[colours].subarray(255 * 4, 255 * 4 + 3)];
  expect(most("inferno")).toEqual([0xfc, 0xff, 0xa4]);
  expect(most("viridis")).toEqual([0xfd, 0xe7, 0x25]);
  expect(most("cividis")).toEqual([0xfe, 0xe8, 0x38]);
});
