import { expect, test } from "vitest";
import { mapAt, readMaps } from "./npy";

function npy(header: string, values: number[]): ArrayBuffer {
  const text = `${header}\n`;
  const bytes = [0x93, ..."NUMPY"].map((one) =>
    typeof one === "number" ? one : one.charCodeAt(0),
  );
  const length = [text.length & 0xff, text.length >> 8];
  const all = [...bytes, 1, 0, ...length, ...new TextEncoder().encode(text), ...values];
  return new Uint8Array(all).buffer;
}

const HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 3), }";

test("maps are read with their shape", () => {
  const maps = readMaps(npy(HEADER, [1, 2, 3, 4, 5, 6]));
  expect([maps.count, maps.height, maps.width]).toEqual([2, 1, 3]);
  expect([...(mapAt(maps, 1) ?? [])]).toEqual([4, 5, 6]);
});

test("maps that end early are refused", () => {
  expect(() => readMaps(npy(HEADER, [1, 2, 3]))).toThrow("3 of 6 bytes");
});

test("another element type is refused", () => {
  expect(() => readMaps(npy(HEADER.replace("|u1", "<f4"), [1, 2, 3, 4, 5, 6]))).toThrow("layout");
});

test("something else is refused", () => {
  expect(() => readMaps(new TextEncoder().encode("<html>").buffer as ArrayBuffer)).toThrow(".npy");
});

test("of some maps those that are here are found by their place in the category", () => {
  const values = Uint8Array.of(1, 2, 3, 4);
  const some = {
    count: 2,
    height: 1,
    width: 2,
    values,
    places: new Map([
      [70, 0],
      [9, 1],
    ]),
  };
  expect([...(mapAt(some, 9) ?? [])]).toEqual([3, 4]);
  expect(mapAt(some, 0)).toBeNull();
});
