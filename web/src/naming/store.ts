/** The state of the naming page, and the plain functions that change it. */
import { create } from "zustand";
import { messageOf, type NamingAddress } from "../api/client";
import {
  type Activation,
  loadActivations,
  loadInvitation,
  loadMaps,
  loadNaming,
} from "../api/naming";
import type { Annotator, Command, Study } from "../api/openapi";
import type { Maps } from "../maps/npy";
import { type Channel, openChannel } from "./channel";
import { DoesNotApply, discardedIds, type View } from "./naming";
import { present, type Queue } from "./queue";
import { afterLeaving, NOTHING, type Selection } from "./selection";
import type { Saving } from "./sender";

/** What the grid shows: the pool, the discard pile, or the concept with this id. */
export type Place = "pool" | "discarded" | { concept: string };

/** What is being dragged. */
export type Dragged = { tiles: string[] } | { concept: string };

export interface NamingState {
  study: Study | null;
  annotator: Annotator | null;
  category: string;
  /** Why the page cannot go on; null while it can. */
  failure: string | null;
  activations: ReadonlyMap<string, Activation>;
  maps: Maps | null;
  channel: Channel | null;
  /** The naming as the hand sees it. */
  view: View | null;
  saving: Saving;
  /** Acts that the server has not taken yet. */
  waiting: number;
  /** One line for the annotator, until they close it. */
  notice: string | null;
  place: Place;
  selection: Selection;
  dragged: Dragged | null;
  /** The concept whose name is being edited. */
  renaming: string | null;
  /** The activation in the large view. */
  enlarged: string | null;
  helpOpen: boolean;
  tileSize: number;
  /** Of the maps over the photographs, in percent. */
  opacity: number;
  /** Whether the maps are hidden for the moment. */
  plain: boolean;
  /** Columns of the grid as it is laid out now, for the arrow keys and the lasso. */
  columns: number;
}

const EMPTY_CATEGORY = {
  failure: null,
  activations: new Map<string, Activation>(),
  maps: null,
  channel: null,
  view: null,
  saving: { kind: "saved" } as Saving,
  waiting: 0,
  notice: null,
  place: "pool" as Place,
  selection: NOTHING,
  dragged: null,
  renaming: null,
  enlarged: null,
};

export const useNaming = create<NamingState>(() => ({
  study: null,
  annotator: null,
  category: "",
  helpOpen: false,
  tileSize: 112,
  opacity: 85,
  plain: false,
  columns: 1,
  ...EMPTY_CATEGORY,
}));

const { getState: get, setState: set } = useNaming;

/** Channels of the categories visited, by category. */
const channels = new Map<string, Channel>();

/** Opens a link that this browser has accepted before, at a category of its study. */
export async function openNaming(
  studyId: string,
  annotatorId: string,
  category: string | null,
): Promise<void> {
  try {
    const { study, annotator } = await loadInvitation(studyId, annotatorId);
    set({ study, annotator });
    const [first = ""] = study.categories;
    await openCategory(study.categories.find((one) => one === category) ?? first);
  } catch (error) {
    set({ failure: messageOf(error) });
  }
}

/** Shows another category, where it was left. */
export async function openCategory(category: string): Promise<void> {
  set({ ...EMPTY_CATEGORY, category });
  history.replaceState(null, "", `?${new URLSearchParams({ category })}`);
  const isOpen = () => get().category === category;
  try {
    const [{ activations, version }, channel] = await Promise.all([
      loadActivations(addressNow()),
      channelOf(addressNow(), isOpen),
    ]);
    if (!isOpen()) return;
    set({ activations, channel });
    showQueue(channel.queue());
    channel.retry();
    const maps = await loadMaps(addressNow(), version);
    if (isOpen()) set({ maps });
  } catch (error) {
    if (isOpen()) set({ failure: messageOf(error) });
  }
}

/** The channel of a category: the one that still has acts to send, or a new one on the present state. */
async function channelOf(address: NamingAddress, isOpen: () => boolean): Promise<Channel> {
  const known = channels.get(address.category);
  if (known && known.queue().pending.length > 0) return known;
  const naming = await loadNaming(address);
  const channel = openChannel(address, naming, {
    changed: (queue) => isOpen() && showQueue(queue),
    saving: (saving) => isOpen() && set({ saving }),
    tell: (notice) => isOpen() && set({ notice }),
  });
  channels.set(address.category, channel);
  return channel;
}

function showQueue(queue: Queue): void {
  const view = present(queue);
  const { place } = get();
  const placeIsGone =
    typeof place === "object" &&
    !view.naming.concepts.some(({ concept_id }) => concept_id === place.concept);
  set({
    view,
    waiting: queue.pending.length,
    ...(placeIsGone ? { place: "pool", selection: NOTHING } : {}),
  });
}

/** Does an act: it paints at once, is kept, and is sent. */
export function act(command: Command): void {
  const { channel, place, selection } = get();
  const before = idsShown();
  try {
    channel?.act(command);
  } catch (error) {
    if (!(error instanceof DoesNotApply)) throw error;
    set({ notice: `${error.message[0]?.toUpperCase()}${error.message.slice(1)}.` });
    return;
  }
  const after = idsShown();
  if (get().place === place && after.length < before.length) {
    set({ selection: afterLeaving(selection, before, after) });
  }
}

/** Tries to send what is waiting, now. */
export function retryNow(): void {
  get().channel?.retry();
}

/** Takes in what other tabs have done, where nothing of this tab is waiting. */
export async function refresh(): Promise<void> {
  const { channel, category } = get();
  if (!channel || channel.queue().pending.length > 0) return;
  try {
    const naming = await loadNaming(addressNow());
    if (get().category === category) channel.meet(naming);
  } catch (error) {
    set({ notice: messageOf(error) });
  }
}

/** Ids in the grid, in the order of the grid. */
export function idsShown(): readonly string[] {
  const { view, place } = get();
  return view ? idsAt(view, place) : [];
}

export function idsAt({ naming }: View, place: Place): readonly string[] {
  if (place === "pool") return naming.pool;
  if (place === "discarded") return discardedIds(naming);
  return (
    naming.concepts.find(({ concept_id }) => concept_id === place.concept)?.activation_ids ?? []
  );
}

export function show(place: Place): void {
  set({ place, selection: NOTHING });
}

export function select(selection: Selection): void {
  set({ selection });
}

/** The address of the category that is open. */
export function addressNow(): NamingAddress {
  const { study, annotator, category } = get();
  return { study_id: study?.study_id ?? "", annotator_id: annotator?.annotator_id ?? "", category };
}
