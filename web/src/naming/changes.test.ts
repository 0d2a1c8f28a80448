import fc from "fast-check";
import { expect, test } from "vitest";
import type { MovedActivations, Naming, NamingChange } from "../api/openapi";
import { after } from "./changes";

function naming(rest: Partial<Naming>): Naming {
  return {
    study_id: "s",
    annotator_id: "a",
    category: "shirt",
    revision: "0",
    concepts: [],
    discards: [],
    pool: [],
    undo_count: 0,
    redo_count: 0,
    ...rest,
  };
}

function change(rest: Partial<NamingChange>): NamingChange {
  return {
    base_revision: "0",
    revision: "1",
    undo_count: 1,
    redo_count: 0,
    concepts: [],
    ended_concept_ids: [],
    moved: [],
    ...rest,
  };
}

test("what moved leaves its list and lies where it is told", () => {
  const before = naming({
    concepts: [{ concept_id: "c1", name: "collar", activation_ids: ["1", "2", "3"] }],
    discards: [{ reason: "DISCARD_REASON_NOISE", activation_ids: ["4"] }],
    pool: ["5", "6"],
  });
  const moved: MovedActivations[] = [
    { concept_id: "c1", activation_ids: ["5", "4"], places: [1, 3] },
    { pool: true, activation_ids: ["2"], places: [0] },
  ];
  const told = change({ moved });
  expect(after(before, told)).toEqual({
    ...before,
    revision: "1",
    undo_count: 1,
    concepts: [{ concept_id: "c1", name: "collar", activation_ids: ["1", "5", "3", "4"] }],
    discards: [],
    pool: ["2", "6"],
  });
});

test("a concept that came back stands where it stood, one that ended is gone", () => {
  const before = naming({
    concepts: [
      { concept_id: "c1", name: "collar", activation_ids: ["1"] },
      { concept_id: "c3", name: "hem", activation_ids: ["2"] },
    ],
  });
  const told = change({
    concepts: [{ concept_id: "c2", name: "sleeve", place: 0 }],
    ended_concept_ids: ["c1"],
    moved: [{ concept_id: "c2", activation_ids: ["1"], places: [0] }],
  });
  expect(after(before, told)?.concepts.map(({ name }) => name)).toEqual(["sleeve", "hem"]);
});

test("lists that nothing left or came to are the same lists", () => {
  const concept = { concept_id: "c1", name: "collar", activation_ids: ["1"] };
  const before = naming({ concepts: [concept], pool: ["2"] });
  const told = change({ concepts: [{ concept_id: "c2", name: "", place: 1 }] });
  const result = after(before, told);
  expect(result?.pool).toBe(before.pool);
  expect(result?.concepts[0]).toBe(concept);
});

test("a change from another revision is none of this naming", () => {
  expect(after(naming({ revision: "4" }), change({}))).toBeNull();
});

test("any activations of a list may go and come back to where they were", () => {
  const ids = Array.from({ length: 12 }, (_, at) => `t${at}`);
  fc.assert(
    fc.property(fc.subarray(ids), (some) => {
      const places = some.map((id) => ids.indexOf(id));
      const order = some.map((_, at) => at);
      const before = naming({ pool: ids });
      const there: MovedActivations = {
        reason: "DISCARD_REASON_NOISE",
        activation_ids: some,
        places: order,
      };
      const back: MovedActivations = { pool: true, activation_ids: some, places };
      const gone = after(before, change({ moved: [there] })) as Naming;
      expect(gone.pool).toEqual(ids.filter((id) => !some.includes(id)));
      const again = after(gone, change({ base_revision: "1", revision: "2", moved: [back] }));
      expect(again).toMatchObject({ pool: ids, discards: [] });
    }),
  );
});
