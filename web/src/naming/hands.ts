/** What a hand does, by mouse or by key, as acts on the naming. */
import type { Command } from "../api/openapi";
import { assign, createConcept, deleteConcept, discard, merge, split, unassign } from "./commands";
import { choose, type Modifiers } from "./selection";
import { act, type Dragged, idsShown, select, show, useNaming } from "./store";

const { getState: get, setState: set } = useNaming;

/** The selected activations, in the order of the grid. */
export function selected(): string[] {
  const { ids } = get().selection;
  return idsShown().filter((id) => ids.has(id));
}

/** The server takes at most so many activations in one act. */
const LARGEST_ACT = 10_000;

function inActs(ids: string[], command: (some: string[]) => Command): void {
  for (let from = 0; from < ids.length; from += LARGEST_ACT) {
    act(command(ids.slice(from, from + LARGEST_ACT)));
  }
}

const assignAll = (conceptId: string, ids: string[]) =>
  inActs(ids, (some) => assign(conceptId, some));

function unassignAll(ids: string[]): void {
  if (get().place !== "pool") inActs(ids, unassign);
}

function discardAll(ids: string[]): void {
  if (get().place !== "discarded") inActs(ids, (some) => discard(some));
}

/** Makes a concept of these and asks for its name; of a concept's own examples it is a split. */
export function makeConcept(ids: string[]): void {
  const { place } = get();
  const first = ids.slice(0, LARGEST_ACT);
  const command =
    typeof place === "object" && ids.length > 0
      ? split(place.concept, first)
      : createConcept(first);
  const conceptId = command.create?.concept_id ?? command.split?.new_concept_id ?? "";
  act(command);
  assignAll(conceptId, ids.slice(LARGEST_ACT));
  set({ renaming: conceptId });
}

/** What dropping does, for each kind of target. */
export const dropOn = {
  concept: (conceptId: string, dragged: Dragged) =>
    "tiles" in dragged
      ? assignAll(conceptId, dragged.tiles)
      : act(merge(dragged.concept, conceptId)),
  newConcept: (dragged: Dragged) => "tiles" in dragged && makeConcept(dragged.tiles),
  pool: (dragged: Dragged) => "tiles" in dragged && unassignAll(dragged.tiles),
  discarded: (dragged: Dragged) => "tiles" in dragged && discardAll(dragged.tiles),
};

/** Puts the selection into the concept with this number; without a selection shows it. */
export function takeConceptNumber(number: number): void {
  const concept = get().view?.naming.concepts[number - 1];
  if (!concept) return;
  const ids = selected();
  if (ids.length > 0) assignAll(concept.concept_id, ids);
  else show({ concept: concept.concept_id });
}

export function poolSelection(): void {
  unassignAll(selected());
}

export function discardSelection(): void {
  discardAll(selected());
}

export function renameShown(): void {
  const { place } = get();
  if (typeof place === "object") set({ renaming: place.concept });
}

export function deleteShown(): void {
  const { place } = get();
  if (typeof place === "object") act(deleteConcept(place.concept));
}

/** Moves the cursor by this many tiles and selects what it comes to. */
export function moveCursor(by: number, modifiers: Modifiers): void {
  const { selection } = get();
  const order = idsShown();
  const from = selection.cursor === null ? -1 : order.indexOf(selection.cursor);
  const to = from < 0 ? 0 : Math.min(order.length - 1, Math.max(0, from + by));
  const id = order[to];
  if (id !== undefined) select(choose(selection, order, id, modifiers));
}

export function enlargeCursor(): void {
  const { cursor } = get().selection;
  if (cursor !== null) set({ enlarged: cursor });
}

const TILE_SIZES = { least: 64, most: 256, step: 16 };

export function resizeTiles(direction: 1 | -1): void {
  const size = get().tileSize + direction * TILE_SIZES.step;
  set({ tileSize: Math.min(TILE_SIZES.most, Math.max(TILE_SIZES.least, size)) });
}

export function changeOpacity(direction: 1 | -1): void {
  set({ opacity: Math.min(100, Math.max(0, get().opacity + 10 * direction)) });
}
