/** The state of the naming page, and the plain functions that change it. */
import { create } from "zustand";
import type { NamingAddress } from "../api/client";
import type { Activation } from "../api/naming";
import type { Annotator, Command, Concept, Study } from "../api/openapi";
import type { Colours } from "../maps/colormap";
import type { Maps } from "../maps/npy";
import type { Channel } from "./channel";
import { keepFocus } from "./focus";
import { DoesNotApply, discardedIds, type View } from "./naming";
import { byImage, byShare, inOrder, type Sort } from "./order";
import { loadPreferences, savePreferences } from "./preferences";
import { present, type Queue } from "./queue";
import { afterLeaving, NOTHING, type Selection, staying } from "./selection";
import type { Saving } from "./sender";
import { counted, nameOf, sentence } from "./words";

/** What the grid shows: the pool, the discard pile, or the concept with this id. */
export type Place = "pool" | "discarded" | { concept: string };

/** What is being dragged. */
export type Dragged = { tiles: string[] } | { concept: string };

/** One line for the annotator, until they close it or go on. */
export interface Notice {
  words: string;
  offers?: { label: string; run: () => void }[];
}

export interface NamingState {
  study: Study | null;
  annotator: Annotator | null;
  /** Whether the results may be read, with what the others named. */
  seesOthers: boolean;
  category: string;
  /** Why the page cannot go on; null while it can. */
  failure: Failure | null;
  activations: ReadonlyMap<string, Activation>;
  maps: Maps | null;
  channel: Channel | null;
  /** The naming as the hand sees it. */
  view: View | null;
  saving: Saving;
  /** Acts of all categories that the server has not taken yet. */
  waiting: number;
  notice: Notice | null;
  /** What was lost in any category, and how often, until the annotator has closed it. */
  losses: ReadonlyMap<string, number>;
  /** The last thing that happened, for those who do not see it. */
  said: string;
  place: Place;
  sort: Sort;
  /** All ids in the order of `sort`; null for the order that the server gives. */
  order: readonly string[] | null;
  /** The examples whose likeness was asked for last, until another order is chosen. */
  askedLike: readonly string[] | null;
  selection: Selection;
  /** Rises where the hand acts or moves the cursor: the grid follows the cursor then, and stays where another device acts. */
  followed: number;
  dragged: Dragged | null;
  /** The concept whose name is being edited. */
  renaming: string | null;
  /** The concept that is being merged into another. */
  merging: string | null;
  /** The concept whose menu is open, and where. */
  menu: { concept: string; x: number; y: number } | null;
  /** What was just discarded, while its reason can be said. */
  justDiscarded: readonly string[];
  /** The activation in the large view. */
  enlarged: string | null;
  helpOpen: boolean;
  finderOpen: boolean;
  tileSize: number;
  /** Of the maps over the photographs, in percent. */
  opacity: number;
  colours: Colours;
  /** Whether keys without Ctrl do something. */
  singleKeys: boolean;
  /** Whether the maps are hidden for the moment. */
  plain: boolean;
  /** Columns and whole rows of the grid as it is laid out now, for the keys and the lasso. */
  columns: number;
  rows: number;
}

export interface Failure {
  message: string;
  /** Whether following the link again is the way out. */
  isSignedOut: boolean;
}

export const EMPTY_CATEGORY = {
  failure: null,
  activations: new Map<string, Activation>(),
  maps: null,
  channel: null,
  view: null,
  notice: null,
  said: "",
  place: "pool" as Place,
  sort: "given" as Sort,
  order: null,
  askedLike: null,
  selection: NOTHING,
  dragged: null,
  renaming: null,
  merging: null,
  menu: null,
  justDiscarded: [],
  enlarged: null,
  finderOpen: false,
};

export const useNaming = create<NamingState>(() => ({
  study: null,
  annotator: null,
  seesOthers: false,
  category: "",
  saving: { kind: "saved" },
  waiting: 0,
  losses: new Map(),
  followed: 0,
  helpOpen: false,
  plain: false,
  columns: 1,
  rows: 1,
  ...loadPreferences(),
  ...EMPTY_CATEGORY,
}));

const { getState: get, setState: set } = useNaming;

useNaming.subscribe((state, before) => {
  const isChanged =
    state.tileSize !== before.tileSize ||
    state.opacity !== before.opacity ||
    state.colours !== before.colours ||
    state.singleKeys !== before.singleKeys;
  if (isChanged) savePreferences(state);
});

export function showQueue(queue: Queue): void {
  const state = get();
  const view = present(queue);
  if (!isThere(view, state.place)) {
    set({ view, place: "pool", selection: NOTHING });
    return;
  }
  const [before, after] = [idsShown(state), idsShown({ ...state, view })];
  set({ view, selection: staying(state.selection, before, after) });
}

/** The concept that the grid shows. */
export function conceptAt({ view, place }: NamingState): Concept | undefined {
  if (typeof place === "string") return undefined;
  return view?.naming.concepts.find(({ concept_id }) => concept_id === place.concept);
}

export function isThere({ naming }: View, place: Place): boolean {
  if (typeof place === "string") return true;
  return naming.concepts.some(({ concept_id }) => concept_id === place.concept);
}

/** Why nothing can be changed here; null where it can. */
export function readOnlyReason({ study }: NamingState): string | null {
  if (study?.state === "STUDY_STATE_CLOSED")
    return "This study is closed. What you named is kept; nothing more is taken.";
  if (study?.state === "STUDY_STATE_DRAFT")
    return "This study is not open yet. Look around; you can name once its owner has opened it.";
  return null;
}

export function isReadOnly(state: NamingState): boolean {
  return readOnlyReason(state) !== null;
}

/** Says why nothing can be changed; false where it can. */
export function isRefused(): boolean {
  const refusal = readOnlyReason(get());
  if (refusal !== null) set({ notice: { words: refusal } });
  return refusal !== null;
}

/** Does an act: it paints at once, is kept, and is sent. False where it makes no sense now. */
export function act(command: Command): boolean {
  const { channel, place, selection } = get();
  if (!channel || isRefused()) return false;
  const before = idsShown();
  try {
    channel.act(command);
  } catch (error) {
    if (!(error instanceof DoesNotApply)) throw error;
    set({ notice: { words: sentence(error.message) } });
    return false;
  }
  set({ justDiscarded: [], notice: null, followed: get().followed + 1 });
  keepFocus();
  const after = idsShown();
  if (get().place === place && after.length < before.length) {
    set({ selection: afterLeaving(selection, before, after) });
  }
  return true;
}

export function tell(words: string): void {
  set({ notice: { words } });
}

export function tellLoss(words: string): void {
  const { losses } = get();
  set({ losses: new Map(losses).set(words, (losses.get(words) ?? 0) + 1) });
}

export function closeLoss(words: string): void {
  set({ losses: new Map([...get().losses].filter(([one]) => one !== words)) });
}

/** The same words twice are heard once, unless something in them differs. */
export function say(words: string): void {
  set({ said: get().said === words ? `${words}\u00a0` : words });
}

/** What the grid shows, in words. */
export function titleOf(state: NamingState): string {
  const concept = conceptAt(state);
  if (concept) return nameOf(concept);
  return state.place === "discarded" ? "Discarded" : "Pool";
}

export function sayPlace(lead = ""): void {
  say(`${lead}${titleOf(get())}, ${counted(idsShown().length, "example")}`);
}

let shownLast: {
  view: View;
  place: Place;
  order: readonly string[] | null;
  ids: readonly string[];
};

/** Ids in the grid, in the order of the grid; the same list as long as nothing moves. */
export function idsShown(state: NamingState = get()): readonly string[] {
  const { view, place, order } = state;
  if (!view) return NOBODY;
  const isSame = shownLast?.view === view && shownLast.place === place && shownLast.order === order;
  if (!isSame) shownLast = { view, place, order, ids: inOrder(idsAt(view, place), order) };
  return shownLast.ids;
}

const NOBODY: readonly string[] = [];

/** Ids of a place, in the order that the server gives. */
export function idsAt({ naming }: View, place: Place): readonly string[] {
  if (place === "pool") return naming.pool;
  if (place === "discarded") return discardedIds(naming);
  return (
    naming.concepts.find(({ concept_id }) => concept_id === place.concept)?.activation_ids ?? []
  );
}

export function show(place: Place): void {
  set({ place, selection: NOTHING, justDiscarded: [] });
  if (get().view) sayPlace();
}

export function select(selection: Selection): void {
  const { selection: before, followed } = get();
  const isMoved = selection.cursor !== before.cursor;
  set({ selection, justDiscarded: [], followed: isMoved ? followed + 1 : followed });
}

/** Sorts the grid by what the page itself knows. */
export function sortBy(sort: "given" | "image" | "share"): void {
  const { activations } = get();
  const order =
    sort === "given" ? null : sort === "image" ? byImage(activations) : byShare(activations);
  set({ sort, order, askedLike: null });
}

/** The address of the category that is open. */
export function addressNow(): NamingAddress {
  const { study, annotator, category } = get();
  return { study_id: study?.study_id ?? "", annotator_id: annotator?.annotator_id ?? "", category };
}
