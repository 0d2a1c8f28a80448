import { expect, test } from "vitest";
import { stretched } from "./columns";

/** Little-endian halves as the services send them. */
function base64(halves: number[]): string {
  const bytes = halves.flatMap((half) => [half & 0xff, half >> 8]);
  return btoa(String.fromCharCode(...bytes));
}

const [ZERO, HALF, ONE, TWO, MINUS_ONE] = [0x0000, 0x3800, 0x3c00, 0x4000, 0xbc00];

test("each map is stretched from its own minimum to its own maximum", () => {
  const maps = stretched({
    activation_id: ["a", "b"],
    height: 1,
    width: 3,
    scale: [1, 1],
    values: base64([ZERO, HALF, ONE, MINUS_ONE, ZERO, TWO]),
  });
  expect([...maps.values]).toEqual([0, 128, 255, 0, 85, 255]);
});

test("a flat map is empty, and what is no number counts as nothing", () => {
  const flat = { activation_id: ["a"], height: 1, width: 2, scale: [1] };
  expect([...stretched({ ...flat, values: base64([ONE, ONE]) }).values]).toEqual([0, 0]);
  expect([...stretched({ ...flat, values: base64([0x7e00, ONE]) }).values]).toEqual([0, 255]);
});

test("the smallest halves count, too", () => {
  const values = base64([ZERO, 0x0001, 0x0002]);
  const maps = stretched({ activation_id: ["a"], height: 1, width: 3, scale: [1], values });
  expect([...maps.values]).toEqual([0, 128, 255]);
});

test("maps that end early are refused", () => {
  const columns = { activation_id: ["a"], height: 2, width: 2, scale: [1], values: base64([ONE]) };
  expect(() => stretched(columns)).toThrow("1 of 4 values");
});
