import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Command, Naming } from "../api/openapi";
import {
  assign,
  createConcept,
  deleteConcept,
  discard,
  merge,
  REDO,
  renameConcept,
  split,
  UNDO,
  unassign,
} from "./commands";
import { apply, DoesNotApply, discardedIds, namedCount, type View, viewOf } from "./naming";

function naming(pool: string[], rest: Partial<Naming> = {}): Naming {
  return {
    study_id: "s",
    annotator_id: "a",
    category: "shirt",
    revision: "0",
    concepts: [],
    discards: [],
    pool,
    undo_count: 0,
    redo_count: 0,
    ...rest,
  };
}

const collar = { concept_id: "c1", name: "collar", activation_ids: ["1", "2"] };
const sleeve = { concept_id: "c2", name: "sleeve", activation_ids: ["3"] };
const start = viewOf(naming(["4", "5"], { concepts: [collar, sleeve] }));

function doing(...commands: Command[]): Naming {
  return commands.reduce(apply, start).naming;
}

function members(naming: Naming, conceptId: string): string[] | undefined {
  return naming.concepts.find(({ concept_id }) => concept_id === conceptId)?.activation_ids;
}

describe("acts on a naming", () => {
  test("a new concept takes its activations from wherever they are", () => {
    const result = doing(createConcept(["1", "4"], "button"));
    expect(result.concepts.at(-1)).toMatchObject({ name: "button", activation_ids: ["1", "4"] });
    expect(members(result, "c1")).toEqual(["2"]);
    expect(result.pool).toEqual(["5"]);
  });

  test("assigning what is there already moves nothing", () => {
    expect(members(doing(assign("c1", ["1", "5"])), "c1")).toEqual(["1", "2", "5"]);
  });

  test("merging keeps the survivor's id and name", () => {
    const result = doing(merge("c2", "c1"));
    expect(result.concepts).toEqual([{ ...collar, activation_ids: ["1", "2", "3"] }]);
  });

  test("a concept cannot be merged into itself", () => {
    expect(() => doing(merge("c1", "c1"))).toThrow(DoesNotApply);
  });

  test("splitting leaves the rest where it was", () => {
    const result = doing(split("c1", ["2"], "left collar"));
    expect(members(result, "c1")).toEqual(["1"]);
    expect(result.concepts.at(-1)).toMatchObject({ name: "left collar", activation_ids: ["2"] });
  });

  test("splitting off what is not in the concept does not apply", () => {
    expect(() => doing(split("c1", ["3"]))).toThrow(DoesNotApply);
  });

  test("a deleted concept's activations go back into the pool", () => {
    expect(doing(deleteConcept("c1")).pool).toEqual(["4", "5", "1", "2"]);
  });

  test("discarding twice for two reasons leaves the later one", () => {
    const result = doing(discard(["4"]), discard(["4"], "DISCARD_REASON_NOISE"));
    expect(result.discards).toEqual([{ reason: "DISCARD_REASON_NOISE", activation_ids: ["4"] }]);
  });

  test("what was discarded comes back into the pool", () => {
    const result = doing(discard(["4", "5"]), unassign(["5"]));
    expect(result.pool).toEqual(["5"]);
    expect(discardedIds(result)).toEqual(["4"]);
  });

  test("renaming a concept that is gone does not apply", () => {
    expect(() => doing(deleteConcept("c1"), renameConcept("c1", "x"))).toThrow(DoesNotApply);
  });

  test("undo without acts does not apply", () => {
    expect(() => doing(UNDO)).toThrow(DoesNotApply);
  });

  test("undo of an act from before this tab waits for the server", () => {
    const view = viewOf(naming(["1"], { undo_count: 3, revision: "3" }));
    expect(apply(view, UNDO).naming).toMatchObject({ pool: ["1"], revision: "4", undo_count: 2 });
  });
});

test("a long trail of acts keeps its last states; further back the server leads", () => {
  const end = Array.from({ length: 300 }, (_, at) => renameConcept("c1", `${at}`)).reduce(
    apply,
    start,
  );
  expect(end.past).toHaveLength(200);
  const back = Array.from({ length: 201 }, () => UNDO).reduce(apply, end);
  expect(back.naming).toMatchObject({ undo_count: 99, redo_count: 201 });
  expect(back.naming.concepts[0]?.name).toBe("99");
});

const IDS = ["1", "2", "3", "4", "5"];
const ids = fc.subarray(IDS);
const conceptId = fc.constantFrom("c1", "c2", "c3");
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({
    create: fc.record({ concept_id: conceptId, name: fc.string(), activation_ids: ids }),
  }),
  fc.tuple(conceptId, ids).map(([id, some]) => assign(id, some)),
  ids.map(unassign),
  ids.map((some) => discard(some)),
  fc.tuple(conceptId, conceptId).map(([source, target]) => merge(source, target)),
  conceptId.map(deleteConcept),
  fc.tuple(conceptId, fc.string()).map(([id, name]) => renameConcept(id, name)),
  fc.constant(UNDO),
  fc.constant(REDO),
);

function replay(commands: Command[]): View {
  return commands.reduce((view, one) => {
    try {
      return apply(view, one);
    } catch (error) {
      if (error instanceof DoesNotApply) return view;
      throw error;
    }
  }, start);
}

describe("whatever is done", () => {
  test("every activation stays in exactly one place", () => {
    fc.assert(
      fc.property(fc.array(command), (commands) => {
        const { naming } = replay(commands);
        const everywhere = [
          ...naming.pool,
          ...discardedIds(naming),
          ...naming.concepts.flatMap((concept) => concept.activation_ids),
        ];
        expect(everywhere.toSorted()).toEqual(IDS);
        expect(namedCount(naming)).toBe(5 - naming.pool.length - discardedIds(naming).length);
      }),
    );
  });

  test("undoing every act leads back to the start, and redoing them to the end", () => {
    fc.assert(
      fc.property(fc.array(command), (commands) => {
        const end = replay(commands);
        const acts = end.naming.undo_count;
        const undone = Array.from({ length: acts }, () => UNDO).reduce(apply, end);
        expect(undone.naming).toMatchObject({ concepts: [collar, sleeve], pool: ["4", "5"] });
        const redone = Array.from({ length: acts }, () => REDO).reduce(apply, undone);
        const { concepts, discards, pool } = end.naming;
        expect(redone.naming).toMatchObject({ concepts, discards, pool });
      }),
    );
  });
});
