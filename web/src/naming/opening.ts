/** Opens a naming and its categories, and keeps them up with what other tabs and devices do. */
import { decoded, namingPath } from "../address";
import { ApiError, messageOf, type NamingAddress, NoAnswerError } from "../api/client";
import {
  type Activation,
  type Activations,
  acceptInvitation,
  heldMaps,
  type Invitation,
  loadActivations,
  loadInvitation,
  loadMaps,
  loadNaming,
  loadSomeMaps,
} from "../api/naming";
import type { Maps } from "../maps/npy";
import { photosHere } from "../maps/photos";
import { type Channel, openChannel } from "./channel";
import { keepFocus } from "./focus";
import { isEmpty } from "./naming";
import { loadPending, pendingCategories, storageKey } from "./pendingStorage";
import { loadStands, type Stand, saveStand } from "./preferences";
import { NOTHING } from "./selection";
import type { Saving } from "./sender";
import {
  addressNow,
  EMPTY_CATEGORY,
  idsShown,
  isThere,
  type Notice,
  sayPlace,
  select,
  showQueue,
  tell,
  tellLoss,
  useNaming,
} from "./store";
import { tellOtherTabs } from "./tabs";
import { quoted } from "./words";

const { getState: get, setState: set } = useNaming;
const TRY_AGAIN_MS = 3000;
const OTHERS_AGAIN_MS = 15_000;
const MAPS_KEPT = 2;
const PHOTOS_FIRST_MS = 2000;
/** An address has to hold their ids. */
const MOST_FIRST_MAPS = 200;

/** What was loaded of the categories visited, by category: channels, lists, and the last few maps. */
const channels = new Map<string, Channel>();
const lists = new Map<string, Activations>();
const maps = new Map<string, Maps>();

let underWay: { what: string; opened: Promise<void> } | null = null;

/** Opens a link that this browser has accepted before, at a category of its study; once, where it is under way. */
export function openNaming(
  studyId: string,
  annotatorId: string,
  category: string | null,
): Promise<void> {
  const what = JSON.stringify([studyId, annotatorId, category]);
  if (underWay?.what === what) return underWay.opened;
  const opened = open(studyId, annotatorId, category).finally(() => {
    if (underWay?.opened === opened) underWay = null;
  });
  underWay = { what, opened };
  return opened;
}

async function open(studyId: string, annotatorId: string, category: string | null): Promise<void> {
  set({ failure: null });
  try {
    const invitation = await invitationOf(studyId, annotatorId);
    const { study } = invitation;
    set(invitation);
    const wanted = category ?? loadStands(studyId, annotatorId).last;
    const [first = ""] = study.categories;
    const opened = openCategory(study.categories.find((one) => one === wanted) ?? first);
    void sendOthers();
    await opened;
  } catch (error) {
    fail(error, () => open(studyId, annotatorId, category));
  }
}

/** A link that was followed a moment ago is known already. */
async function invitationOf(studyId: string, annotatorId: string): Promise<Invitation> {
  const { study, annotator, seesOthers } = get();
  const isKnown = study?.study_id === studyId && annotator?.annotator_id === annotatorId;
  return isKnown ? { study, annotator, seesOthers } : loadInvitation(studyId, annotatorId);
}

/** The opening that was asked for last: an earlier one, of the same category too, shows nothing any more. */
let latest = 0;

/** Shows another category, where it was left. */
export async function openCategory(category: string): Promise<void> {
  const { study, annotator, category: before } = get();
  latest += 1;
  const mine = latest;
  set({ ...EMPTY_CATEGORY, category });
  // The button that led here may be at its end now; a page that is just opening has had no focus.
  if (before) keepFocus();
  history.replaceState(null, "", `?${new URLSearchParams({ category })}`);
  const isOpen = () => get().category === category;
  const address = addressNow();
  try {
    const [list, channel] = await Promise.all([listOf(address), channelOf(address)]);
    if (mine !== latest) return;
    if (list.activations.size > 0 && isEmpty(channel.queue().confirmed.naming)) {
      channels.delete(category);
      throw new NotTakenInError();
    }
    set({ activations: list.activations, channel });
    showQueue(channel.queue());
    const stands = loadStands(study?.study_id ?? "", annotator?.annotator_id ?? "");
    standAt(stands.categories[category]);
    sayPlace(`${category}: `);
    retryNow();
    void showMaps(address, list.version, isOpen);
  } catch (error) {
    if (mine === latest) fail(error, () => openCategory(category));
  }
}

/** Goes this many categories on. */
export function stepCategory(by: number): void {
  const { study, category } = get();
  const categories = study?.categories ?? [];
  const next = categories[categories.indexOf(category) + by];
  if (next !== undefined) void openCategory(next);
}

/** What was last said about maps that do not come. */
let noMaps: Notice | null = null;

/** The maps of a large category take the server a while: what is in sight comes first. */
async function showMaps(
  address: NamingAddress,
  version: string,
  isOpen: () => boolean,
): Promise<void> {
  const { category } = address;
  const show = (found: Maps) =>
    isOpen() && set({ maps: found, ...(get().notice === noMaps ? { notice: null } : {}) });
  try {
    let found = maps.get(category) ?? (await heldMaps(address, version));
    if (!found) {
      if (isOpen()) show(await loadSomeMaps(address, version, inSight()));
      await photosHere(PHOTOS_FIRST_MS);
      found = await loadMaps(address, version);
    }
    keepMaps(category, found);
    show(found);
  } catch (error) {
    if (!isOpen()) return;
    noMaps = { words: `The maps are not here yet: ${messageOf(error)}` };
    set({ notice: noMaps });
    if (mayPass(error)) setTimeout(() => void showMaps(address, version, isOpen), TRY_AGAIN_MS);
  }
}

/** The activations that the grid shows first: a screenful around the cursor. */
function inSight(): Activation[] {
  const { activations, columns, rows, selection } = get();
  const ids = idsShown();
  const cursor = selection.cursor === null ? 0 : Math.max(0, ids.indexOf(selection.cursor));
  const screenful = Math.min(MOST_FIRST_MAPS, columns * (rows + 2));
  const from = cursor < screenful ? 0 : cursor - columns;
  return ids
    .slice(from, from + screenful)
    .map((id) => activations.get(id))
    .filter((one) => one !== undefined);
}

function standAt(stand: Stand | undefined): void {
  const { view } = get();
  if (!view || !stand || !isThere(view, stand.place)) return;
  set({ place: stand.place });
  const { cursor } = stand;
  if (cursor !== null && get().activations.has(cursor))
    select({ ...NOTHING, cursor, anchor: cursor });
}

/** Keeps where the category stands whenever that changes. */
export function rememberStands(): () => void {
  return useNaming.subscribe((state, before) => {
    const { study, annotator, category, view, place, selection } = state;
    const isMoved = place !== before.place || selection.cursor !== before.selection.cursor;
    // What a category that is just opening shows first is not where anybody stood.
    if (!view || !before.view || category !== before.category || !isMoved) return;
    if (!study || !annotator) return;
    const stand = { place, cursor: selection.cursor };
    saveStand(study.study_id, annotator.annotator_id, category, stand);
  });
}

async function listOf(address: NamingAddress): Promise<Activations> {
  const list = lists.get(address.category) ?? (await loadActivations(address));
  lists.set(address.category, list);
  return list;
}

function keepMaps(category: string, found: Maps): void {
  maps.delete(category);
  maps.set(category, found);
  for (const oldest of maps.keys()) {
    if (maps.size <= MAPS_KEPT) return;
    maps.delete(oldest);
  }
}

/** The channel of a category: the one that is here, brought up to date, or a new one. */
async function channelOf(address: NamingAddress): Promise<Channel> {
  const busy = channels.get(address.category);
  if (busy && busy.queue().pending.length > 0) return busy;
  const naming = await loadNaming(address);
  // Only now: another opening may have made it in the meantime.
  const known = channels.get(address.category);
  if (known) {
    known.meet(naming);
    return known;
  }
  const isOpen = () => get().category === address.category;
  const channel = openChannel(address, naming, {
    changed: (queue) => {
      if (isOpen()) showQueue(queue);
      showSaving();
    },
    saving: showSaving,
    tell: (words, isLoss) => {
      const said = isOpen() ? words : `In ${quoted(address.category)}: ${words}`;
      return isLoss ? tellLoss(said) : tell(said);
    },
    met: () => isOpen() && sayElsewhere(),
    done: () => tellOtherTabs({ kind: "changed", category: address.category }),
    closed: () => void refreshStudy(),
  });
  channels.set(address.category, channel);
  showSaving();
  return channel;
}

/** How the saving stands: what keeps the acts of any category back is said, whichever is shown. */
function showSaving(): void {
  const all = [...channels.values()];
  const savings = all.map((channel) => channel.saving());
  const first = (kind: Saving["kind"]) => savings.find((saving) => saving.kind === kind);
  const unsaved = first("signed_out") ?? first("offline") ?? first("saving");
  const shown = channels.get(get().category)?.saving();
  const { study_id, annotator_id } = addressNow();
  const elsewhere = othersPending().reduce(
    (sum, category) => sum + loadPending(storageKey(study_id, annotator_id, category)).length,
    0,
  );
  const waiting = all.reduce((sum, channel) => sum + channel.queue().pending.length, elsewhere);
  const ofOthers: Saving = sendingOthersAgain
    ? { kind: "offline", message: "" }
    : { kind: "saving" };
  set({ saving: unsaved ?? (elsewhere > 0 ? ofOthers : shown) ?? { kind: "saved" }, waiting });
}

/** Categories that are not shown, and in which acts of an earlier visit wait for a way to the server. */
function othersPending(): string[] {
  const { study_id, annotator_id, category: shown } = addressNow();
  return pendingCategories(study_id, annotator_id).filter(
    (category) => category !== shown && !channels.has(category),
  );
}

/** Set while a try has failed and the next is waited for. */
let sendingOthersAgain: ReturnType<typeof setTimeout> | undefined;

/** Sends what waits in them, now and then until it is sent. */
async function sendOthers(): Promise<void> {
  clearTimeout(sendingOthersAgain);
  const { category: _, ...path } = addressNow();
  const ways = othersPending().map((category) => channelOf({ ...path, category }));
  await Promise.all(ways.map((way) => unasked(async () => void (await way))));
  clearTimeout(sendingOthersAgain);
  const again = () => void sendOthers();
  sendingOthersAgain = othersPending().length > 0 ? setTimeout(again, OTHERS_AGAIN_MS) : undefined;
  showSaving();
}

/** What was offered after this tab's act would now be done to another's. */
function sayElsewhere(): void {
  set({ justDiscarded: [], ...(get().notice?.offers ? { notice: null } : {}) });
}

/** Whether another try is worth it. */
function mayPass(error: unknown): boolean {
  if (error instanceof NoAnswerError || lacksMaps(error)) return true;
  return error instanceof ApiError && error.isPassing;
}

/** Maps are drawn, and their examples on the way to where they are named. */
class NotTakenInError extends Error {}

/** Whether the study's owner has to have maps drawn first; the server's words are for them. */
function lacksMaps(error: unknown): boolean {
  if (error instanceof NotTakenInError) return true;
  return (
    error instanceof ApiError && ["NO_MAPS", "MAPS_INCOMPLETE"].includes(error.problem.reason ?? "")
  );
}

function fail(error: unknown, again: () => Promise<void>): void {
  const isSignedOut = error instanceof ApiError && [401, 403].includes(error.status);
  const message = lacksMaps(error)
    ? "The examples of this study are not ready yet: its owner has them made."
    : messageOf(error);
  set({ failure: { message, isSignedOut } });
  const { failure } = get();
  if (mayPass(error)) setTimeout(() => get().failure === failure && void again(), TRY_AGAIN_MS);
}

/** Takes the link again where the browser has lost its cookie; what waits is sent. */
export async function openLinkAgain(link: string): Promise<void> {
  const invitation = await acceptInvitation(decoded(link.trim().replace(/^.*#/, "")));
  const { study, annotator } = invitation;
  // Who is named in the address bar, too: where the page has not opened, nothing else says whose it is.
  if (location.pathname !== namingPath(study.study_id, annotator.annotator_id)) {
    throw new Error(
      "that link is another annotator's: what waits here can only be sent with yours",
    );
  }
  set(invitation);
  tellOtherTabs({ kind: "signed_in" });
  retryNow();
  if (!get().channel)
    await openNaming(study.study_id, annotator.annotator_id, get().category || null);
}

/** Tries to send what is waiting, now. */
export function retryNow(): void {
  for (const channel of channels.values()) channel.retry();
  void sendOthers();
}

/** Takes in what other tabs have done, where nothing of this tab is waiting. */
export async function refresh(): Promise<void> {
  const { channel, category } = get();
  if (!channel || channel.queue().pending.length > 0) return;
  await unasked(async () => {
    const naming = await loadNaming(addressNow());
    if (get().category === category) channel.meet(naming);
  });
}

/** Takes in what the owner has done with the study: it may be closed. */
export async function refreshStudy(): Promise<void> {
  const { study_id, annotator_id } = addressNow();
  await unasked(async () => set(await loadInvitation(study_id, annotator_id)));
}

/** What nobody has asked for may fail: the next act says whether anything is wrong. */
async function unasked(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof NoAnswerError)) throw error;
  }
}
