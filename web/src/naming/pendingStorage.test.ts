import { beforeEach, expect, test, vi } from "vitest";
import { UNDO } from "./commands";
import {
  countPending,
  loadPending,
  pendingCategories,
  savePending,
  storageKey,
} from "./pendingStorage";
import type { PendingAct } from "./queue";

const KEY = storageKey("s", "a", "T-shirt/top");
const act = (request_id: string): PendingAct => ({ request_id, command: UNDO });

beforeEach(() => localStorage.clear());

test("pending acts come back in order", () => {
  savePending(KEY, [], [act("1"), act("2")]);
  expect(loadPending(KEY)).toEqual([act("1"), act("2")]);
});

test("an act that is done leaves, and another tab's stays", () => {
  savePending(KEY, [], [act("other tab")]);
  savePending(KEY, [], [act("1"), act("2")]);
  savePending(KEY, [act("1"), act("2")], [act("2")]);
  expect(loadPending(KEY)).toEqual([act("other tab"), act("2")]);
});

test("categories are kept apart, whatever their names", () => {
  expect(storageKey("s", "a", "b/c")).not.toBe(storageKey("s", "a/b", "c"));
});

test("what waits is counted over the categories of one annotator", () => {
  savePending(KEY, [], [act("1"), act("2")]);
  savePending(storageKey("s", "a", "shoe"), [], [act("3")]);
  savePending(storageKey("s", "another", "shoe"), [], [act("4")]);
  expect(countPending("s", "a")).toBe(3);
  expect(countPending("s", "nobody")).toBe(0);
  expect(pendingCategories("s", "a").toSorted()).toEqual(["T-shirt/top", "shoe"]);
});

test("a full storage is reported", () => {
  const setItem = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  vi.stubGlobal("localStorage", { getItem: () => null, setItem });
  expect(savePending(KEY, [], [act("1")])).toBe(false);
  vi.unstubAllGlobals();
});

test("where a browser stores nothing, nothing waits, and what cannot be kept is reported", () => {
  const refuse = () => {
    throw new DOMException("denied", "SecurityError");
  };
  vi.stubGlobal("localStorage", { getItem: refuse, setItem: refuse, removeItem: refuse });
  expect(loadPending(KEY)).toEqual([]);
  expect(savePending(KEY, [], [act("1")])).toBe(false);
  expect(savePending(KEY, [act("1")], [])).toBe(true);
  vi.unstubAllGlobals();
});
