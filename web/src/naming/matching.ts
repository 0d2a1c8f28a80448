/** Finding concepts by what is typed of their names. */
import type { Concept } from "../api/openapi";

/** Concepts whose names hold the text: those that start with it first, in the order of the shelf. */
export function matches(concepts: readonly Concept[], text: string): Concept[] {
  const wanted = plain(text);
  const ranked = concepts.map((concept) => ({ concept, rank: rank(plain(concept.name), wanted) }));
  return ranked
    .filter((one) => one.rank < NOT_FOUND)
    .sort((one, other) => one.rank - other.rank)
    .map(({ concept }) => concept);
}

const NOT_FOUND = 4;

function rank(name: string, wanted: string): number {
  if (name === wanted) return 0;
  if (name.startsWith(wanted)) return 1;
  if (name.includes(` ${wanted}`)) return 2;
  return name.includes(wanted) ? 3 : NOT_FOUND;
}

/** Whether people would take two names for one; no name is not one. */
export function isSameName(one: string, other: string): boolean {
  return plain(one) !== "" && plain(one) === plain(other);
}

/** Without accents and capitals: who types “armel” finds “Ärmel”. */
function plain(text: string): string {
  return text
    .trim()
    .normalize("NFD")
    .replace(/\p{Mn}/gu, "")
    .toLocaleLowerCase();
}
