import { expect, test } from "vitest";
import type { Naming } from "../api/openapi";
import { assign, createConcept, renameConcept, UNDO } from "./commands";
import { viewOf } from "./naming";
import { type Answer, enqueue, type PendingAct, present, type Queue } from "./queue";
import { createSender, type Saving, type Wiring } from "./sender";

const EMPTY: Naming = {
  study_id: "s",
  annotator_id: "a",
  category: "shirt",
  revision: "0",
  concepts: [],
  discards: [],
  pool: ["1", "2", "3"],
  undo_count: 0,
  redo_count: 0,
};
const collar = { concept_id: "c1", name: "collar", activation_ids: ["1"] };
const create: PendingAct = { request_id: "r1", command: { create: collar } };
const rename: PendingAct = { request_id: "r2", command: renameConcept("c1", "neck") };

/** A server in memory that answers as it is told, and otherwise takes every act. */
function stage(acts: PendingAct[], answers: (Answer | "take")[] = []) {
  const start: Queue = { confirmed: viewOf(EMPTY), pending: [] };
  const state = {
    queue: acts.reduce(enqueue, start),
    sent: [] as { request_id: string; base: string }[],
    savings: [] as Saving["kind"][],
    told: [] as string[],
    closed: 0,
    met: 0,
    waits: [] as number[],
  };
  const wiring: Wiring = {
    read: () => state.queue,
    write: (queue) => {
      state.queue = queue;
    },
    send: async (act, base) => {
      state.sent.push({ request_id: act.request_id, base });
      const answer = answers.shift() ?? "take";
      if (answer !== "take") return answer;
      const { naming } = present({ confirmed: state.queue.confirmed, pending: [act] });
      return { kind: "done", naming };
    },
    report: ({ kind }) => state.savings.push(kind),
    tell: (message) => state.told.push(message),
    closed: () => {
      state.closed++;
    },
    met: () => {
      state.met++;
    },
    wait: async (ms) => void state.waits.push(ms),
  };
  return { state, send: createSender(wiring) };
}

test("acts are sent in order, each on the revision that the one before has made", async () => {
  const { state, send } = stage([create, rename]);
  await send();
  expect(state.sent).toEqual([
    { request_id: "r1", base: "0" },
    { request_id: "r2", base: "1" },
  ]);
  expect(state.queue.pending).toEqual([]);
  expect(state.queue.confirmed.naming.concepts[0]?.name).toBe("neck");
  expect(state.savings.at(-1)).toBe("saved");
});

test("an act paints before the server has it", () => {
  const { state } = stage([create]);
  expect(present(state.queue).naming.pool).toEqual(["2", "3"]);
  expect(state.queue.confirmed.naming.pool).toEqual(["1", "2", "3"]);
});

test("the server's answer replaces what the page has worked out", async () => {
  const naming = { ...EMPTY, revision: "1", undo_count: 1, concepts: [collar], pool: ["3", "2"] };
  const { state, send } = stage([create], [{ kind: "done", naming }]);
  await send();
  expect(present(state.queue).naming).toEqual(naming);
  expect(state.met).toBe(0);
});

test("without a connection the act waits longer each time, and the same act is sent again", async () => {
  const nobody: Answer = { kind: "unreachable", message: "no connection" };
  const { state, send } = stage([create], [nobody, nobody, nobody]);
  await send();
  expect(state.sent.map(({ request_id }) => request_id)).toEqual(["r1", "r1", "r1", "r1"]);
  expect(state.waits).toEqual([1000, 2000, 4000]);
  expect(state.savings.filter((kind) => kind === "offline")).toHaveLength(3);
  expect(state.queue.pending).toEqual([]);
});

test("while an act is tried again, the page goes on saying that nobody answers", async () => {
  const nobody: Answer = { kind: "unreachable", message: "" };
  const { state, send } = stage([create, rename], [nobody, nobody]);
  await send();
  expect(state.savings).toEqual(["saving", "offline", "offline", "saving", "saved"]);
});

test("an act whose answer was lost does not let undo take back what another device did after it", async () => {
  const hem = { concept_id: "c9", name: "hem", activation_ids: ["3"] };
  const naming = { ...EMPTY, revision: "2", concepts: [collar, hem], pool: ["2"], undo_count: 2 };
  const nobody: Answer = { kind: "unreachable", message: "" };
  const undo: PendingAct = { request_id: "r3", command: UNDO };
  const stale: Answer = { kind: "stale", naming };
  const { state, send } = stage([create, undo], [nobody, { kind: "done", naming }, stale]);
  await send();
  expect(state.sent.at(-1)).toEqual({ request_id: "r3", base: "1" });
  expect(state.queue.confirmed.naming.concepts.map(({ name }) => name)).toEqual(["collar", "hem"]);
  expect(state.told[0]).toContain("1 change of this tab no longer fitted");
});

test("an act whose answer was lost forgets the states before another device's act, and what was offered", async () => {
  const hem = { concept_id: "c9", name: "hem", activation_ids: ["3"] };
  const naming = { ...EMPTY, revision: "2", concepts: [collar, hem], pool: ["2"], undo_count: 2 };
  const { state, send } = stage([create], [{ kind: "done", naming }]);
  await send();
  expect(state.queue.confirmed).toEqual({ naming, past: [], future: [] });
  expect(state.met).toBe(1);
});

test("an undo that was kept over a closed tab is sent for the revision it was meant for", async () => {
  const before: Queue = { confirmed: viewOf({ ...EMPTY, revision: "4" }), pending: [] };
  const kept = JSON.parse(
    JSON.stringify([create, { request_id: "r3", command: UNDO }].reduce(enqueue, before).pending),
  ) as PendingAct[];
  const { state, send } = stage([]);
  state.queue = { confirmed: viewOf({ ...EMPTY, revision: "6" }), pending: kept };
  await send();
  expect(state.sent.map(({ base }) => base)).toEqual(["6", "5"]);
});

test("after another tab's act, this tab's acts go on top of it", async () => {
  const naming = {
    ...EMPTY,
    revision: "4",
    concepts: [{ concept_id: "c9", name: "hem", activation_ids: ["3"] }],
    pool: ["1", "2"],
  };
  const { state, send } = stage([create, rename], [{ kind: "stale", naming }]);
  await send();
  expect(state.sent.map(({ base }) => base)).toEqual(["0", "4", "5"]);
  expect(state.queue.confirmed.naming.concepts.map(({ name }) => name)).toEqual(["hem", "neck"]);
  expect(state.told).toHaveLength(1);
});

test("what no longer fits after another tab's act is lost visibly, and so is undo", async () => {
  const known = enqueue({ confirmed: viewOf(EMPTY), pending: [] }, create);
  const { state, send } = stage([], [{ kind: "stale", naming: { ...EMPTY, revision: "7" } }]);
  state.queue = {
    confirmed: present(known),
    pending: [
      { request_id: "r2", command: assign("c1", ["2"]) },
      { request_id: "r3", command: UNDO },
      { request_id: "r4", command: createConcept(["2"]) },
    ],
  };
  await send();
  expect(state.told[0]).toContain("2 changes of this tab no longer fitted");
  expect(state.met, "what was offered goes").toBe(1);
  expect(state.sent.map(({ request_id }) => request_id)).toEqual(["r2", "r4"]);
});

test("an undo of a refused act does not take back the act before it", async () => {
  const other: PendingAct = { request_id: "r3", command: createConcept(["2"], "hem") };
  const undo: PendingAct = { request_id: "r4", command: UNDO };
  const refused: Answer = { kind: "refused", message: "a name is too long" };
  const { state, send } = stage([create, other, undo], ["take", refused]);
  await send();
  expect(state.sent.map(({ request_id }) => request_id)).toEqual(["r1", "r3"]);
  expect(present(state.queue).naming.concepts.map(({ name }) => name)).toEqual(["collar"]);
});

test("a refused act is dropped with those that rested on it", async () => {
  const refused: Answer = { kind: "refused", message: "the study is closed" };
  const { state, send } = stage([create, rename], [refused]);
  await send();
  expect(state.told).toEqual(["2 changes not taken: the study is closed"]);
  expect(state.met, "what was offered goes").toBe(1);
  expect(present(state.queue).naming).toEqual(EMPTY);
});

test("a study that is closed meanwhile ends the queue at once, and says so once", async () => {
  const other: PendingAct = { request_id: "r3", command: createConcept(["2"], "hem") };
  const { state, send } = stage(
    [create, rename, other],
    ["take", { kind: "closed", message: "study 's' is closed" }],
  );
  await send();
  expect(state.sent).toHaveLength(2);
  expect(state.told).toEqual(["2 changes not taken: the study was closed before."]);
  expect(state.closed).toBe(1);
  expect(state.queue.pending).toEqual([]);
  expect(present(state.queue).naming.concepts.map(({ name }) => name)).toEqual(["collar"]);
  expect(state.savings.at(-1)).toBe("saved");
});

test("a lost invitation stops sending and keeps the acts", async () => {
  const { state, send } = stage([create, rename], [{ kind: "signed_out", message: "link" }]);
  await send();
  expect(state.queue.pending).toEqual([create, rename]);
  expect(state.savings.at(-1)).toBe("signed_out");
});

test("an act made while the link is lost leaves the form that asks for it", async () => {
  const lost: Answer = { kind: "signed_out", message: "link" };
  const { state, send } = stage([create, rename], [lost, lost]);
  await send();
  await send();
  expect(state.savings).toEqual(["saving", "signed_out", "signed_out"]);
  await send();
  expect(state.savings.slice(3)).toEqual(["saving", "saved"]);
});

test("sending twice at once sends nothing twice", async () => {
  const { state, send } = stage([create]);
  await Promise.all([send(), send()]);
  expect(state.sent).toHaveLength(1);
});
