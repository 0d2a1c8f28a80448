import { beforeEach, expect, test, vi } from "vitest";
import { type Activation, loadSimilar } from "../api/naming";
import type { Command, Naming, Study } from "../api/openapi";
import type { Channel } from "./channel";
import {
  askName,
  askWhatToMerge,
  discardSelection,
  makeConcept,
  redo,
  removeConcept,
  renameShown,
  sortBySimilarity,
  splitShown,
  takeConcept,
  takeConceptNumber,
  undo,
} from "./hands";
import { viewOf } from "./naming";
import { enqueue, type Queue } from "./queue";
import { everything, NOTHING } from "./selection";
import { idsShown, select, show, showQueue, sortBy, useNaming } from "./store";

vi.mock("../api/naming");

const LARGEST = 10_000;
const POOL = Array.from({ length: 25_000 }, (_, at) => `t${at}`);

let acts: Command[];

beforeEach(() => {
  acts = [];
  const naming: Naming = {
    study_id: "s",
    annotator_id: "a",
    category: "shirt",
    revision: "0",
    concepts: [],
    discards: [],
    pool: POOL,
    undo_count: 0,
    redo_count: 0,
  };
  let queue: Queue = { confirmed: viewOf(naming), pending: [] };
  const channel: Partial<Channel> = {
    act: (command) => {
      acts.push(command);
      queue = enqueue(queue, { request_id: String(acts.length), command });
      showQueue(queue);
    },
  };
  useNaming.setState({
    activations: new Map<string, Activation>(),
    channel: channel as Channel,
    place: "pool",
    order: null,
    study: null,
    renaming: null,
    merging: null,
    notice: null,
  });
  showQueue(queue);
});

const sizes = () =>
  acts
    .map((act) => Object.values(act)[0] as { activation_ids: string[] })
    .map(({ activation_ids }) => activation_ids.length);

test("more than 10,000 examples go in several acts, none twice and none left", () => {
  select(everything(NOTHING, idsShown()));
  discardSelection();
  expect(sizes()).toEqual([LARGEST, LARGEST, 5_000]);
  const sent = acts.flatMap(({ discard }) => discard?.activation_ids ?? []);
  expect(new Set(sent).size).toBe(25_000);
  expect(useNaming.getState().view?.naming.pool).toEqual([]);
});

test("a concept of more than 10,000 is made and then filled", () => {
  makeConcept(POOL, "all");
  expect(acts.map((act) => Object.keys(act)[0])).toEqual(["create", "assign", "assign"]);
  expect(sizes()).toEqual([LARGEST, LARGEST, 5_000]);
  expect(useNaming.getState().view?.naming.concepts[0]?.activation_ids).toEqual(POOL);
});

const conceptIds = () =>
  useNaming.getState().view?.naming.concepts.map(({ concept_id }) => concept_id) ?? [];

test.each([
  [0, "“\u2068hem\u2069” is deleted."],
  [1, "“\u2068hem\u2069” is deleted; its 1 example is back in the pool."],
  [2, "“\u2068hem\u2069” is deleted; its 2 examples are back in the pool."],
])("deleting a concept of %d examples says what became of them", (count, words) => {
  makeConcept(POOL.slice(0, count), "hem");
  removeConcept(conceptIds()[0] ?? "");
  expect(useNaming.getState().notice?.words).toBe(words);
});

test.each([
  ["a name", askName],
  ["a merge", askWhatToMerge],
  ["a split", splitShown],
])("a closed study does not begin %s", (_, begin) => {
  makeConcept(POOL.slice(0, 2), "hem");
  const study: Partial<Study> = { state: "STUDY_STATE_CLOSED" };
  useNaming.setState({ study: study as Study });
  begin(conceptIds()[0] ?? "");
  expect(useNaming.getState()).toMatchObject({ renaming: null, merging: null, place: "pool" });
  expect(useNaming.getState().notice?.words).toContain("This study is closed.");
});

test("in a closed study the key of a concept shows it, whatever is selected", () => {
  makeConcept(POOL.slice(0, 2), "hem");
  const study: Partial<Study> = { state: "STUDY_STATE_CLOSED" };
  useNaming.setState({ study: study as Study });
  select(everything(NOTHING, idsShown()));
  const concept = conceptIds()[0] ?? "";
  takeConcept(concept);
  expect(useNaming.getState().place).toEqual({ concept });
});

test("what is shown by its number is what keys for a concept mean, wherever the focus was", () => {
  makeConcept(POOL.slice(0, 1), "collar");
  makeConcept(POOL.slice(1, 2), "hem");
  const [collar, hem] = conceptIds();
  document.body.innerHTML = `<div class="grid" tabindex="0"></div><button data-concept="${collar}"></button>`;
  document.querySelector("button")?.focus();
  takeConceptNumber(2);
  renameShown();
  expect(useNaming.getState().renaming).toBe(hem);
  document.body.replaceChildren();
});

const said = () => useNaming.getState().said;

test("the same words said twice are heard twice", () => {
  makeConcept(POOL.slice(0, 1));
  makeConcept(POOL.slice(1, 2));
  for (const heard of ["Undone", "Undone\u00a0"]) {
    undo();
    expect(said()).toBe(heard);
  }
  redo();
  expect(said()).toBe("Done again");
});

test("what a closed study refuses is not said to be done", () => {
  const study: Partial<Study> = { state: "STUDY_STATE_CLOSED" };
  useNaming.setState({ study: study as Study, said: "" });
  select({ ...NOTHING, ids: new Set(POOL.slice(0, 1)) });
  discardSelection();
  expect(useNaming.getState()).toMatchObject({ said: "", justDiscarded: [] });
});

test("what the grid shows now is said", () => {
  makeConcept(POOL.slice(0, 2), "hem");
  show({ concept: conceptIds()[0] ?? "" });
  expect(said()).toBe("hem, 2 examples");
  show("discarded");
  expect(said()).toBe("Discarded, 0 examples");
});

test.each([
  ["another order", () => sortBy("image"), "image"],
  ["likeness to others", () => void sortBySimilarity(), "similarity"],
])(
  "an answer of before does not take the place of %s that was chosen since",
  async (_, choose, sort) => {
    const answers: (() => void)[] = [];
    vi.mocked(loadSimilar).mockImplementation(
      (_, ids) => new Promise((resolve) => answers.push(() => resolve([...ids]))),
    );
    select({ ...NOTHING, ids: new Set(["t1"]) });
    const first = sortBySimilarity();
    select({ ...NOTHING, ids: new Set(["t2"]) });
    choose();
    for (const answer of answers.toReversed()) answer();
    await first;
    expect(useNaming.getState().sort).toBe(sort);
    expect(useNaming.getState().order ?? []).not.toContain("t1");
  },
);
