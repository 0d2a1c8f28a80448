/**
 * Pending acts outlive the tab: they lie in localStorage until the server has taken them.
 * A second tab may send them too; the server knows an act by its request id.
 */
import { store, stored, storedKeys } from "../storage";
import type { PendingAct } from "./queue";

const PREFIX = "onoma/pending/";

export function storageKey(studyId: string, annotatorId: string, category: string): string {
  return `${PREFIX}${JSON.stringify([studyId, annotatorId, category])}`;
}

export function loadPending(key: string): PendingAct[] {
  return JSON.parse(stored(key) ?? "[]") as PendingAct[];
}

/** The categories of one annotator in which acts wait here for the server. */
export function pendingCategories(studyId: string, annotatorId: string): string[] {
  return pendingKeys(studyId, annotatorId).map((key) => {
    const [, , category = ""] = JSON.parse(key.slice(PREFIX.length)) as string[];
    return category;
  });
}

/** How many acts of all categories wait here for the server. */
export function countPending(studyId: string, annotatorId: string): number {
  return pendingKeys(studyId, annotatorId).reduce(
    (count, key) => count + loadPending(key).length,
    0,
  );
}

function pendingKeys(studyId: string, annotatorId: string): string[] {
  const start = storageKey(studyId, annotatorId, "").slice(0, -'""]'.length);
  return storedKeys().filter((key) => key.startsWith(start));
}

/** Adds what is new and takes out what is done, leaving other tabs' acts alone. False: what waits has no room. */
export function savePending(key: string, before: PendingAct[], after: PendingAct[]): boolean {
  const gone = new Set(before.map((act) => act.request_id));
  const others = loadPending(key).filter((act) => !gone.has(act.request_id));
  const all = [...others, ...after];
  // Where nothing can be stored, there is nothing to take away.
  return store(key, all.length > 0 ? JSON.stringify(all) : null) || all.length === 0;
}
