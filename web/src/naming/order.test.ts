import { expect, test } from "vitest";
import type { Activation } from "../api/naming";
import { byImage, byShare, inOrder } from "./order";

const rows: [string, string, number][] = [
  ["1", "b", 0.2],
  ["2", "a", 0.1],
  ["3", "b", 0.7],
  ["4", "a", 0.9],
];
const activations = new Map(
  rows.map(([id, imageId, share], index): [string, Activation] => [
    id,
    { id, imageId, share, index },
  ]),
);

test("examples of one image stand together, the largest share first", () => {
  expect(byImage(activations)).toEqual(["4", "2", "3", "1"]);
});

test("the largest share comes first", () => {
  expect(byShare(activations)).toEqual(["4", "3", "1", "2"]);
});

test("what is not in the order comes last, and what is not here is left out", () => {
  expect(inOrder(["2", "9", "1"], ["1", "2", "3"])).toEqual(["1", "2", "9"]);
});

test("without an order all stays as it is", () => {
  const ids = ["2", "1"];
  expect(inOrder(ids, null)).toBe(ids);
});
