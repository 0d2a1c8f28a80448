import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { sendAct } from "../api/acts";
import type { Naming } from "../api/openapi";
import { openChannel } from "./channel";
import { discard } from "./commands";
import { loadPending, storageKey } from "./pendingStorage";
import { present, type Queue } from "./queue";

vi.mock("../api/acts");

const ADDRESS = { study_id: "s", annotator_id: "a", category: "shirt" };
const KEY = storageKey("s", "a", "shirt");
const NAMING: Naming = {
  ...ADDRESS,
  revision: "0",
  concepts: [],
  discards: [],
  pool: ["1", "2", "3"],
  undo_count: 0,
  redo_count: 0,
};
const REASON = "DISCARD_REASON_UNSPECIFIED";

/** The pools that were painted, each with how many acts were kept by then. */
let painted: { pool: string[]; kept: number }[];
/** How many acts were kept when each was sent. */
let keptWhenSent: number[];

function open() {
  const nothing = () => {};
  return openChannel(ADDRESS, NAMING, {
    changed: (queue: Queue) =>
      painted.push({ pool: present(queue).naming.pool, kept: loadPending(KEY).length }),
    saving: nothing,
    tell: nothing,
    met: nothing,
    done: nothing,
    closed: nothing,
  });
}

beforeEach(() => {
  localStorage.clear();
  painted = [];
  keptWhenSent = [];
  vi.useFakeTimers();
  vi.mocked(sendAct).mockImplementation(() => {
    keptWhenSent.push(loadPending(KEY).length);
    return new Promise(() => {});
  });
});

afterEach(() => vi.useRealTimers());

test("an act is painted before it is kept, and kept before it is sent", async () => {
  open().act(discard(["1"], REASON));
  expect(painted).toEqual([{ pool: ["2", "3"], kept: 0 }]);
  expect(keptWhenSent).toEqual([]);
  await vi.runAllTimersAsync();
  expect(keptWhenSent).toEqual([1]);
});

test("an act is kept where the page is left before it is sent", () => {
  open().act(discard(["1"], REASON));
  window.dispatchEvent(new Event("pagehide"));
  expect(keptWhenSent).toEqual([]);
  expect(loadPending(KEY)).toHaveLength(1);
});

test("a page that paints nothing sends its acts too", async () => {
  vi.stubGlobal("requestAnimationFrame", () => 0);
  open().act(discard(["1"], REASON));
  await vi.runAllTimersAsync();
  vi.unstubAllGlobals();
  expect(keptWhenSent).toEqual([1]);
});
