/** What a hand does, by mouse or by key, as acts on the naming. */
import { messageOf } from "../api/client";
import { loadSimilar } from "../api/naming";
import type { Command, Concept, DiscardReason } from "../api/openapi";
import { COLOUR_WORDS, type Colours } from "../maps/colormap";
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
import { focusGrid } from "./focus";
import { isSameName } from "./matching";
import { choose, type Modifiers } from "./selection";
import {
  act,
  addressNow,
  type Dragged,
  idsShown,
  isReadOnly,
  isRefused,
  type Place,
  say,
  select,
  show,
  tell,
  useNaming,
} from "./store";
import { CHOSEN_REASONS, counted, nameOf, quoted, REASON_WORDS } from "./words";

const { getState: get, setState: set } = useNaming;

/** The selected activations, in the order of the grid. */
export function selected(): string[] {
  const { ids } = get().selection;
  return idsShown().filter((id) => ids.has(id));
}

/** The server takes at most so many activations in one act. */
const LARGEST_ACT = 10_000;

/** Whether all were taken; after an act that was not, none is tried. */
function inActs(ids: string[], command: (some: string[]) => Command): boolean {
  for (let from = 0; from < ids.length; from += LARGEST_ACT) {
    if (!act(command(ids.slice(from, from + LARGEST_ACT)))) return false;
  }
  return true;
}

export function conceptOf(conceptId: string): Concept | undefined {
  return get().view?.naming.concepts.find(({ concept_id }) => concept_id === conceptId);
}

function assignAll(conceptId: string, ids: string[]): void {
  const isDone = inActs(ids, (some) => assign(conceptId, some));
  const concept = conceptOf(conceptId);
  if (isDone && concept && ids.length > 0)
    say(`${counted(ids.length, "example")} put into ${nameOf(concept)}`);
}

function unassignAll(ids: string[]): void {
  if (get().place === "pool") return;
  const isDone = inActs(ids, unassign);
  if (isDone && ids.length > 0) say(`${counted(ids.length, "example")} back in the pool`);
}

function discardAll(ids: string[], reason: DiscardReason = "DISCARD_REASON_UNSPECIFIED"): void {
  if (ids.length === 0 || (get().place === "discarded" && reason.endsWith("UNSPECIFIED"))) return;
  if (!inActs(ids, (some) => discard(some, reason))) return;
  if (reason !== "DISCARD_REASON_UNSPECIFIED") {
    say(`${counted(ids.length, "example")} discarded: ${REASON_WORDS[reason]}`);
    return;
  }
  set({ justDiscarded: ids });
  say(`${counted(ids.length, "example")} discarded. Keys 1 to 4 say why: ${reasonsByKey()}`);
}

function reasonsByKey(): string {
  return CHOSEN_REASONS.map((reason, at) => `${at + 1} ${REASON_WORDS[reason]}`).join(", ");
}

/** Says why what was just discarded was. */
export function sayWhy(reason: DiscardReason): void {
  discardAll([...get().justDiscarded], reason);
}

/** Makes a concept of these; of a concept's own examples it is a split. Without a name it is asked for. */
export function makeConcept(ids: string[], name = ""): void {
  const { place } = get();
  const first = ids.slice(0, LARGEST_ACT);
  const command =
    typeof place === "object" && ids.length > 0
      ? split(place.concept, first, name)
      : createConcept(first, name);
  const conceptId = command.create?.concept_id ?? command.split?.new_concept_id ?? "";
  if (!act(command)) return;
  assignAll(conceptId, ids.slice(LARGEST_ACT));
  say(`New concept ${name} of ${counted(ids.length, "example")}`);
  if (name === "") set({ renaming: conceptId });
}

/** Takes the selected examples of a concept out into a new one. */
export function splitShown(conceptId: string | null = null): void {
  if (isRefused()) return;
  const { place } = get();
  if (conceptId !== null && !(typeof place === "object" && place.concept === conceptId)) {
    show({ concept: conceptId });
  }
  const ids = typeof get().place === "object" ? selected() : [];
  if (ids.length > 0) makeConcept(ids);
  else if (typeof get().place === "object") {
    tell(
      "Select the examples that should leave this concept, then press S: they become a new one.",
    );
  } else tell("Show a concept first, and select the examples that should leave it.");
}

/** Puts one concept into another, which keeps its name; the other name is one press away. */
export function mergeConcepts(sourceId: string, targetId: string): void {
  const [source, target] = [conceptOf(sourceId), conceptOf(targetId)];
  if (!source || !target || !act(merge(sourceId, targetId))) return;
  const words = `${quoted(nameOf(source))} (${source.activation_ids.length}) is now part of ${quoted(nameOf(target))} (${target.activation_ids.length}).`;
  const keepOther = () => {
    act(UNDO);
    act(merge(targetId, sourceId));
  };
  const other = { label: `Keep the name ${quoted(source.name)}`, run: keepOther };
  const isOtherName = source.name !== "" && source.name !== target.name;
  set({ notice: { words, offers: [...(isOtherName ? [other] : []), UNDO_OFFER] } });
}

const UNDO_OFFER = { label: "Take it back", run: () => void act(UNDO) };

export function undo(): void {
  // Where this tab has not seen the state before, the server's answer shows it.
  const isSeen = (get().view?.past.length ?? 0) > 0;
  if (act(UNDO)) say(isSeen ? "Undone" : LATER);
}

export function redo(): void {
  const isSeen = (get().view?.future.length ?? 0) > 0;
  if (act(REDO)) say(isSeen ? "Done again" : LATER);
}

const LATER = "Shown once the server has answered";

/** What dropping does, for each kind of target. */
export const dropOn = {
  concept: (conceptId: string, dragged: Dragged) =>
    "tiles" in dragged
      ? assignAll(conceptId, dragged.tiles)
      : mergeConcepts(dragged.concept, conceptId),
  newConcept: (dragged: Dragged) => "tiles" in dragged && makeConcept(dragged.tiles),
  pool: (dragged: Dragged) => "tiles" in dragged && unassignAll(dragged.tiles),
  discarded: (dragged: Dragged, reason?: DiscardReason) =>
    "tiles" in dragged && discardAll(dragged.tiles, reason),
};

/** Puts the selection into this concept; without a selection, or where nothing can be changed, shows it. */
export function takeConcept(conceptId: string): void {
  const ids = isReadOnly(get()) ? [] : selected();
  if (ids.length > 0) assignAll(conceptId, ids);
  else showByKey({ concept: conceptId });
}

/** Shows a place, and takes the focus from the concept that had it: keys for a concept mean this one now. */
export function showByKey(place: Place): void {
  show(place);
  focusGrid();
}

export function takeConceptNumber(number: number): void {
  const reason = CHOSEN_REASONS[number - 1];
  if (get().justDiscarded.length > 0 && reason) {
    sayWhy(reason);
    return;
  }
  const concept = get().view?.naming.concepts[number - 1];
  if (concept) takeConcept(concept.concept_id);
}

export function poolSelection(): void {
  unassignAll(selected());
}

export function discardSelection(reason?: DiscardReason): void {
  discardAll(selected(), reason);
}

/** Does something to the concept that has the focus or is shown, or says that none is. */
function withShown(doing: (conceptId: string) => void): void {
  const { place } = get();
  const focused = document.activeElement?.closest<HTMLElement>("[data-concept]")?.dataset.concept;
  if (focused !== undefined) doing(focused);
  else if (typeof place === "object") doing(place.concept);
  else tell("Show a concept first: press its number, or click on it.");
}

export const renameShown = () => withShown(askName);
export const mergeShown = () => withShown(askWhatToMerge);
export const deleteShown = () => withShown(removeConcept);

export function askName(renaming: string): void {
  if (!isRefused()) set({ renaming });
}

export function askWhatToMerge(merging: string): void {
  if (!isRefused()) set({ merging });
}

/** Takes a name that was typed; null keeps the old one. Two concepts of one name stay two until the hand merges them. */
export function takeName(conceptId: string, name: string | null): void {
  set({ renaming: null });
  if (name !== null && name !== conceptOf(conceptId)?.name && act(renameConcept(conceptId, name))) {
    offerMergeOfName(conceptId, name);
  }
  focusGrid();
}

function offerMergeOfName(conceptId: string, name: string): void {
  const concepts = get().view?.naming.concepts ?? [];
  const other = concepts.find((one) => one.concept_id !== conceptId && isSameName(one.name, name));
  if (!other) return;
  const words = `There is another concept called ${quoted(nameOf(other))} (${other.activation_ids.length}). They stay two concepts unless you merge them.`;
  const run = () => mergeConcepts(conceptId, other.concept_id);
  set({ notice: { words, offers: [{ label: "Merge them", run }] } });
}

export function removeConcept(conceptId: string): void {
  const concept = conceptOf(conceptId);
  if (!concept || !act(deleteConcept(conceptId))) return;
  const count = concept.activation_ids.length;
  const back = `; its ${counted(count, "example")} ${count === 1 ? "is" : "are"} back in the pool`;
  const words = `${quoted(nameOf(concept))} is deleted${count > 0 ? back : ""}.`;
  set({ notice: { words, offers: [UNDO_OFFER] } });
}

/** Sorts by likeness to the selection, as it is now. */
export async function sortBySimilarity(): Promise<void> {
  const ids = selected();
  if (ids.length === 0) {
    tell("Select one example or more first; the others are then sorted by how alike they are.");
    return;
  }
  set({ askedLike: ids });
  const isWanted = () => get().askedLike === ids;
  try {
    const order = await loadSimilar(addressNow(), ids.slice(0, LARGEST_ACT));
    if (isWanted()) set({ sort: "similarity", order });
  } catch (error) {
    if (isWanted()) tell(`Not sorted: ${messageOf(error)}`);
  }
}

/** Moves the cursor by this many tiles and selects what it comes to. */
export function moveCursor(by: number, modifiers: Modifiers): void {
  const { selection } = get();
  const order = idsShown();
  const from = selection.cursor === null ? -1 : order.indexOf(selection.cursor);
  const to = from < 0 ? 0 : Math.min(order.length - 1, Math.max(0, from + by));
  const id = order[to];
  if (id === undefined) return;
  if (modifiers.ctrl) select({ ...selection, cursor: id });
  else select(choose(selection, order, id, modifiers));
}

/** Adds the tile at the cursor to the selection, or takes it out. */
export function toggleCursor(): void {
  const { selection } = get();
  if (selection.cursor === null) return;
  select(choose(selection, idsShown(), selection.cursor, { shift: false, ctrl: true }));
}

export function enlargeCursor(): void {
  const { cursor } = get().selection;
  if (cursor !== null) set({ enlarged: cursor });
}

/** Goes to the next example in the large view. */
export function stepEnlarged(by: number): void {
  const { enlarged } = get();
  const order = idsShown();
  const at = enlarged === null ? -1 : order.indexOf(enlarged);
  const id = order[at + by];
  if (at < 0 || id === undefined) return;
  select({ ids: new Set([id]), anchor: id, cursor: id });
  set({ enlarged: id });
}

const TILE_SIZES = { least: 64, most: 256, step: 16 };

export function resizeTiles(direction: 1 | -1): void {
  const size = get().tileSize + direction * TILE_SIZES.step;
  set({ tileSize: Math.min(TILE_SIZES.most, Math.max(TILE_SIZES.least, size)) });
}

export function changeOpacity(direction: 1 | -1): void {
  set({ opacity: Math.min(100, Math.max(0, get().opacity + 10 * direction)) });
}

/** Draws the maps in the next of the colours. */
export function changeColours(): void {
  const all = Object.keys(COLOUR_WORDS) as Colours[];
  const next = all[(all.indexOf(get().colours) + 1) % all.length];
  if (next !== undefined) set({ colours: next });
}
