/** Takes what the server says has changed into a naming that is here (NamingChange of naming.proto). */
import type { Discard, MovedActivations, Naming, NamingChange } from "../api/openapi";
import { REASONS } from "./naming";

/** The naming after a change; null where that starts from another revision. */
export function after(naming: Naming, change: NamingChange): Naming | null {
  if (change.base_revision !== naming.revision) return null;
  const { concepts, discards, pool } = listsAfter(naming, change);
  const { revision, undo_count, redo_count } = change;
  return { ...naming, revision, undo_count, redo_count, concepts, discards, pool };
}

function listsAfter(
  naming: Naming,
  { concepts, ended_concept_ids, moved }: NamingChange,
): Pick<Naming, "concepts" | "discards" | "pool"> {
  const gone = new Set(moved.flatMap(({ activation_ids }) => activation_ids));
  /** A list of the naming: the same one where nothing left and nothing came. */
  const changed = (ids: string[], arrived?: MovedActivations) => {
    const stay = ids.some((id) => gone.has(id)) ? ids.filter((id) => !gone.has(id)) : ids;
    return arrived ? put(stay, arrived.activation_ids, arrived.places) : stay;
  };

  const others = new Set([...ended_concept_ids, ...concepts.map(({ concept_id }) => concept_id)]);
  const known = new Map(naming.concepts.map((concept) => [concept.concept_id, concept]));
  const order = put(
    naming.concepts.filter(({ concept_id }) => !others.has(concept_id)),
    concepts.map(({ concept_id, name }) => {
      return { concept_id, name, activation_ids: known.get(concept_id)?.activation_ids ?? [] };
    }),
    concepts.map(({ place }) => place),
  );
  const members = new Map(moved.map((one) => [one.concept_id, one]));

  const discarded = REASONS.map((reason): Discard => {
    const ids = naming.discards.find((one) => one.reason === reason)?.activation_ids ?? [];
    const arrived = moved.find((one) => one.reason === reason);
    return { reason, activation_ids: changed(ids, arrived) };
  });
  return {
    concepts: order.map((concept) => {
      const activation_ids = changed(concept.activation_ids, members.get(concept.concept_id));
      return activation_ids === concept.activation_ids ? concept : { ...concept, activation_ids };
    }),
    discards: discarded.filter(({ activation_ids }) => activation_ids.length > 0),
    pool: changed(
      naming.pool,
      moved.find((one) => one.pool),
    ),
  };
}

/** The list in which each of `incoming` lies at its place, and the others around them as they were. */
function put<T>(stay: T[], incoming: T[], places: number[]): T[] {
  const result: T[] = [];
  let from = 0;
  incoming.forEach((one, at) => {
    const staying = (places[at] ?? 0) - result.length;
    for (const other of stay.slice(from, from + staying)) result.push(other);
    from += staying;
    result.push(one);
  });
  return [...result, ...stay.slice(from)];
}
