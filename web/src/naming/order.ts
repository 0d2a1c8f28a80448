/** The orders in which the grid can show examples: lists of ids, worked out once for a category. */
import type { Activation } from "../api/naming";

export type Sort = "given" | "image" | "similarity" | "share";

export const SORT_WORDS: Record<Sort, string> = {
  given: "as given",
  image: "by image",
  similarity: "most alike first",
  share: "by contribution",
};

/** All activations image by image, the largest share first. */
export function byImage(activations: ReadonlyMap<string, Activation>): string[] {
  return idsSorted(activations, (one, other) =>
    one.imageId === other.imageId ? other.share - one.share : one.imageId < other.imageId ? -1 : 1,
  );
}

/** All activations, the largest share first. */
export function byShare(activations: ReadonlyMap<string, Activation>): string[] {
  return idsSorted(activations, (one, other) => other.share - one.share);
}

/** These ids in the order of `order`; those that it does not know come last. */
export function inOrder(
  ids: readonly string[],
  order: readonly string[] | null,
): readonly string[] {
  if (order === null) return ids;
  const here = new Set(ids);
  const known = order.filter((id) => here.delete(id));
  return here.size === 0 ? known : [...known, ...here];
}

function idsSorted(
  activations: ReadonlyMap<string, Activation>,
  compare: (one: Activation, other: Activation) => number,
): string[] {
  return [...activations.values()].sort(compare).map(({ id }) => id);
}
