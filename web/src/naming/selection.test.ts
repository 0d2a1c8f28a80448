import { expect, test } from "vitest";
import {
  afterLeaving,
  choose,
  everything,
  lasso,
  NOTHING,
  type Selection,
  staying,
} from "./selection";

const ORDER = Array.from({ length: 12 }, (_, index) => `t${index}`);
const PLAIN = { shift: false, ctrl: false };
const SHIFT = { shift: true, ctrl: false };
const CTRL = { shift: false, ctrl: true };

function click(selection: Selection, id: string, modifiers = PLAIN): Selection {
  return choose(selection, ORDER, id, modifiers);
}

test("a click selects one tile and nothing else", () => {
  const selection = click(click(NOTHING, "t1"), "t5");
  expect([...selection.ids]).toEqual(["t5"]);
});

test("shift-click selects the range, in either direction, however far it was scrolled", () => {
  expect([...click(click(NOTHING, "t9"), "t7", SHIFT).ids]).toEqual(["t7", "t8", "t9"]);
  expect(click(click(NOTHING, "t0"), "t11", SHIFT).ids.size).toBe(12);
});

test("a second shift-click starts from the same tile", () => {
  const selection = click(click(click(NOTHING, "t4"), "t8", SHIFT), "t3", SHIFT);
  expect([...selection.ids]).toEqual(["t3", "t4"]);
});

test("ctrl-click adds a tile and takes it out again", () => {
  const two = click(click(NOTHING, "t1"), "t5", CTRL);
  expect([...two.ids]).toEqual(["t1", "t5"]);
  expect([...click(two, "t1", CTRL).ids]).toEqual(["t5"]);
});

test("a lasso selects the cells it touches, also beyond the last tile", () => {
  const cells = { top: 1, bottom: 9, left: 1, right: 2 };
  const { ids } = lasso(NOTHING, ORDER, 5, cells, false);
  expect([...ids]).toEqual(["t6", "t7", "t11"]);
});

test("a lasso with ctrl keeps what was selected", () => {
  const { ids } = lasso(
    click(NOTHING, "t11"),
    ORDER,
    4,
    { top: 0, bottom: 0, left: 0, right: 0 },
    true,
  );
  expect([...ids]).toEqual(["t11", "t0"]);
});

test("after tiles have left, the keys go on at the next one that stayed", () => {
  const selection = click(NOTHING, "t4");
  expect(
    afterLeaving(
      selection,
      ORDER,
      ORDER.filter((id) => id !== "t4"),
    ).cursor,
  ).toBe("t5");
  expect(afterLeaving(selection, ORDER, ["t0", "t2"]).cursor).toBe("t2");
  expect(afterLeaving(selection, ORDER, []).cursor).toBeNull();
});

test("select all takes tiles that were never shown, and goes nowhere", () => {
  const selection = everything(click(NOTHING, "t5"), ORDER);
  expect(selection.ids.size).toBe(12);
  expect(selection.cursor).toBe("t5");
});

test("of a selection stays what another device has left in the grid, and the keys go on beside it", () => {
  const selection = click(click(NOTHING, "t4"), "t6", CTRL);
  const after = ORDER.filter((id) => id !== "t6");
  expect(staying(selection, ORDER, after)).toEqual({
    ids: new Set(["t4"]),
    anchor: "t7",
    cursor: "t7",
  });
  expect(staying(selection, ORDER, ORDER.slice(4))).toBe(selection);
});
