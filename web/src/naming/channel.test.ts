import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { sendAct } from "../api/acts";
import type { Naming } from "../api/openapi";
import { openChannel } from "./channel";
import { discard } from "./commands";
import { loadPending, storageKey } from "./pendingStorage";
import { type Answer, present, type Queue } from "./queue";
import type { Saving } from "./sender";

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

/** What was said and what was painted, in order: "saving", "saved", or the pool. */
let seen: string[];
/** The pools that were painted, each with how many acts were kept by then. */
let painted: { pool: string[]; kept: number }[];
/** How many acts were kept when each was sent. */
let keptWhenSent: number[];

function open() {
  const nothing = () => {};
  return openChannel(ADDRESS, NAMING, {
    changed: (queue: Queue) => {
      const { pool } = present(queue).naming;
      painted.push({ pool, kept: loadPending(KEY).length });
      seen.push(pool.join());
    },
    saving: ({ kind }: Saving) => seen.push(kind),
    tell: nothing,
    met: nothing,
    done: nothing,
    closed: nothing,
  });
}

beforeEach(() => {
  localStorage.clear();
  seen = [];
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

test("saving is said in the step that paints an act, and saved once the server has it", async () => {
  let answer = (_: Answer) => {};
  vi.mocked(sendAct).mockImplementation(
    () =>
      new Promise((resolve) => {
        answer = resolve;
      }),
  );
  const channel = open();
  expect(seen).toEqual(["saved"]);
  channel.act(discard(["1"], REASON));
  expect(seen).toEqual(["saved", "2,3", "saving"]);
  await vi.runAllTimersAsync();
  expect(seen.lastIndexOf("saved")).toBe(0);
  const naming = { ...NAMING, revision: "1", pool: ["2", "3"] };
  answer({ kind: "done", naming });
  await vi.runAllTimersAsync();
  expect(seen.slice(-2)).toEqual(["2,3", "saved"]);
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

test("an act without a connection does not hide that there is none, and a category opened again says so", async () => {
  vi.mocked(sendAct).mockResolvedValueOnce({ kind: "unreachable", message: "" });
  const channel = open();
  channel.act(discard(["1"], REASON));
  await vi.advanceTimersByTimeAsync(100);
  expect(seen.at(-1)).toBe("offline");
  channel.act(discard(["2"], REASON));
  expect(seen.slice(-2)).toEqual(["offline", "3"]);
  channel.retry();
  expect(seen.slice(-2)).toEqual(["3", "offline"]);
  await vi.advanceTimersByTimeAsync(100);
  expect(keptWhenSent).toEqual([2]);
  expect(seen.at(-1)).toBe("offline");
});
