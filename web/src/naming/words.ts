/** How the naming page writes numbers, names and reasons. */
import type { Concept, DiscardReason } from "../api/openapi";

export const REASON_WORDS: Record<DiscardReason, string> = {
  DISCARD_REASON_UNSPECIFIED: "no reason",
  DISCARD_REASON_NOISE: "noise",
  DISCARD_REASON_BACKGROUND: "background",
  DISCARD_REASON_TOO_FEW_ALIKE: "too few alike",
  DISCARD_REASON_UNCLEAR: "unclear",
};

/** Those that a hand can choose, in the order of their keys 1 to 4. */
export const CHOSEN_REASONS: DiscardReason[] = [
  "DISCARD_REASON_NOISE",
  "DISCARD_REASON_BACKGROUND",
  "DISCARD_REASON_TOO_FEW_ALIKE",
  "DISCARD_REASON_UNCLEAR",
];

export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

export function nameOf({ name }: Pick<Concept, "name">): string {
  return name || "unnamed";
}

/** A name within a sentence: of another direction, it must not turn the words around it. */
export function quoted(name: string): string {
  return `“\u2068${name}\u2069”`;
}

export function sentence(words: string): string {
  return `${words[0]?.toUpperCase() ?? ""}${words.slice(1)}${words.endsWith(".") ? "" : "."}`;
}
