/**
 * A naming and what a command does to it: the semantics of protos/onoma/v1/naming.proto,
 * so that an act paints before the server has answered. The server's answer then replaces
 * what is worked out here.
 */
import type { Command, Concept, Discard, DiscardReason, Naming } from "../api/openapi";

/** What undo brings back. */
export interface Content {
  concepts: Concept[];
  discards: Discard[];
  pool: string[];
}

/** A naming with the states that undo and redo lead to, as far as this tab has seen them. */
export interface View {
  naming: Naming;
  past: Content[];
  future: Content[];
}

/** The command names something that is not there. */
export class DoesNotApply extends Error {}

export function viewOf(naming: Naming): View {
  return { naming, past: [], future: [] };
}

/** Throws DoesNotApply; never changes `view`. */
export function apply(view: View, command: Command): View {
  if (command.undo) return undo(view);
  if (command.redo) return redo(view);
  return {
    naming: {
      ...view.naming,
      ...changed(view.naming, command),
      revision: next(view.naming.revision),
      undo_count: view.naming.undo_count + 1,
      redo_count: 0,
    },
    past: longer(view.past, view.naming),
    future: [],
  };
}

function changed(content: Content, command: Command): Content {
  if (command.create) {
    const { concept_id, name, activation_ids } = command.create;
    return add(without(content, activation_ids), { concept_id, name, activation_ids });
  }
  if (command.rename) {
    const { concept_id, name } = command.rename;
    return replace(content, { ...find(content, concept_id), name });
  }
  if (command.assign) {
    const { concept_id, activation_ids } = command.assign;
    const already = new Set(find(content, concept_id).activation_ids);
    const incoming = activation_ids.filter((id) => !already.has(id));
    const rest = without(content, incoming);
    return replace(rest, append(find(rest, concept_id), incoming));
  }
  if (command.unassign) {
    const inPool = new Set(content.pool);
    const incoming = command.unassign.activation_ids.filter((id) => !inPool.has(id));
    const rest = without(content, incoming);
    return { ...rest, pool: [...rest.pool, ...incoming] };
  }
  if (command.discard) {
    const { activation_ids, reason } = command.discard;
    return discarded(without(content, activation_ids), activation_ids, reason);
  }
  if (command.merge) {
    const { source_concept_id, target_concept_id } = command.merge;
    if (source_concept_id === target_concept_id) {
      throw new DoesNotApply("a concept cannot be merged into itself");
    }
    const source = find(content, source_concept_id);
    const merged = append(find(content, target_concept_id), source.activation_ids);
    return replace(drop(content, source_concept_id), merged);
  }
  if (command.split) {
    const { concept_id, new_concept_id, name, activation_ids } = command.split;
    const members = new Set(find(content, concept_id).activation_ids);
    if (!activation_ids.every((id) => members.has(id))) {
      throw new DoesNotApply("some of these examples have left the concept");
    }
    return add(without(content, activation_ids), {
      concept_id: new_concept_id,
      name,
      activation_ids,
    });
  }
  if (command.delete) {
    const { activation_ids } = find(content, command.delete.concept_id);
    const rest = drop(content, command.delete.concept_id);
    return { ...rest, pool: [...rest.pool, ...activation_ids] };
  }
  throw new DoesNotApply("the command is empty");
}

function undo(view: View): View {
  if (view.naming.undo_count === 0) throw new DoesNotApply("there is nothing to undo");
  return travel(view, view.past.at(-1), -1, {
    past: view.past.slice(0, -1),
    future: longer(view.future, view.naming),
  });
}

function redo(view: View): View {
  if (view.naming.redo_count === 0) throw new DoesNotApply("there is nothing to redo");
  return travel(view, view.future.at(-1), 1, {
    past: longer(view.past, view.naming),
    future: view.future.slice(0, -1),
  });
}

/** Where this tab has not seen the state, it stays as it is until the server has answered. */
function travel(
  view: View,
  content: Content | undefined,
  step: 1 | -1,
  trail: Pick<View, "past" | "future">,
): View {
  return {
    naming: {
      ...view.naming,
      ...content,
      revision: next(view.naming.revision),
      undo_count: view.naming.undo_count + step,
      redo_count: view.naming.redo_count - step,
    },
    ...trail,
  };
}

/** States kept of a trail: thousands of a large category fill the memory. Further back the server knows the way. */
const STATES_KEPT = 200;

function longer(trail: Content[], { concepts, discards, pool }: Naming): Content[] {
  return [...trail.slice(1 - STATES_KEPT), { concepts, discards, pool }];
}

/** Revisions are 64-bit numbers, which JSON carries as strings. */
function next(revision: string): string {
  return String(Number(revision) + 1);
}

function find(content: Content, conceptId: string): Concept {
  const concept = content.concepts.find(({ concept_id }) => concept_id === conceptId);
  if (!concept) throw new DoesNotApply("the concept is gone");
  return concept;
}

function add(content: Content, concept: Concept): Content {
  if (content.concepts.some(({ concept_id }) => concept_id === concept.concept_id)) {
    throw new DoesNotApply("the concept is there already");
  }
  return { ...content, concepts: [...content.concepts, concept] };
}

function replace(content: Content, concept: Concept): Content {
  const concepts = content.concepts.map((one) =>
    one.concept_id === concept.concept_id ? concept : one,
  );
  return { ...content, concepts };
}

function drop(content: Content, conceptId: string): Content {
  return {
    ...content,
    concepts: content.concepts.filter(({ concept_id }) => concept_id !== conceptId),
  };
}

function append(concept: Concept, incoming: string[]): Concept {
  return { ...concept, activation_ids: [...concept.activation_ids, ...incoming] };
}

function discarded(content: Content, ids: string[], reason: DiscardReason): Content {
  const known = content.discards.find((discard) => discard.reason === reason);
  if (!known) {
    const discards = [...content.discards, { reason, activation_ids: ids }];
    return { ...content, discards: discards.toSorted(byReason) };
  }
  const grown = { reason, activation_ids: [...known.activation_ids, ...ids] };
  return {
    ...content,
    discards: content.discards.map((discard) => (discard === known ? grown : discard)),
  };
}

/** Reasons for a discard, in the order that the server lists them. */
export const REASONS: DiscardReason[] = [
  "DISCARD_REASON_UNSPECIFIED",
  "DISCARD_REASON_NOISE",
  "DISCARD_REASON_BACKGROUND",
  "DISCARD_REASON_TOO_FEW_ALIKE",
  "DISCARD_REASON_UNCLEAR",
];

function byReason(one: Discard, other: Discard): number {
  return REASONS.indexOf(one.reason) - REASONS.indexOf(other.reason);
}

/** Takes activations out of wherever they are. */
function without(content: Content, ids: string[]): Content {
  const leaving = new Set(ids);
  const stays = (id: string) => !leaving.has(id);
  return {
    concepts: content.concepts.map((concept) =>
      concept.activation_ids.every(stays)
        ? concept
        : { ...concept, activation_ids: concept.activation_ids.filter(stays) },
    ),
    discards: content.discards
      .map((discard) => ({ ...discard, activation_ids: discard.activation_ids.filter(stays) }))
      .filter((discard) => discard.activation_ids.length > 0),
    pool: content.pool.filter(stays),
  };
}

/**
 * `after`, with the lists of `before` wherever they hold the same: what did not change is
 * not drawn again, and a long trail of undo keeps one copy of it.
 */
export function reusing(before: Naming, after: Naming): Naming {
  const known = new Map(before.concepts.map((concept) => [concept.concept_id, concept]));
  const concepts = after.concepts.map((concept) => {
    const old = known.get(concept.concept_id);
    if (!old) return concept;
    const activation_ids = reusedList(old.activation_ids, concept.activation_ids);
    const isSame = activation_ids === old.activation_ids && old.name === concept.name;
    return isSame ? old : { ...concept, activation_ids };
  });
  return { ...after, concepts, pool: reusedList(before.pool, after.pool) };
}

function reusedList(before: string[], after: string[]): string[] {
  const isSame = before.length === after.length && before.every((id, at) => id === after[at]);
  return isSame ? before : after;
}

/** Whether two namings hold the same, at the same revision. */
export function isSameNaming(one: Naming, other: Naming): boolean {
  return (
    one.revision === other.revision &&
    one.undo_count === other.undo_count &&
    one.redo_count === other.redo_count &&
    reusedList(one.pool, other.pool) === one.pool &&
    JSON.stringify(one.discards) === JSON.stringify(other.discards) &&
    one.concepts.length === other.concepts.length &&
    reusing(one, other).concepts.every((concept, at) => concept === one.concepts[at])
  );
}

/** Whether it holds no activation at all, not in its pool either. */
export function isEmpty({ concepts, discards, pool }: Naming): boolean {
  return concepts.length + discards.length + pool.length === 0;
}

/** Activations that are in a concept. */
export function namedCount(naming: Naming): number {
  return naming.concepts.reduce((sum, concept) => sum + concept.activation_ids.length, 0);
}

/** Activations on the discard pile, whatever the reason. */
export function discardedIds({ discards }: Pick<Naming, "discards">): string[] {
  return discards.flatMap((discard) => discard.activation_ids);
}
