/**
 * Pending acts outlive the tab: they lie in localStorage until the server has taken them.
 * A second tab may send them too; the server knows an act by its request id.
 */
import type { PendingAct } from "./queue";

export function storageKey(studyId: string, annotatorId: string, category: string): string {
  return `onoma/pending/${JSON.stringify([studyId, annotatorId, category])}`;
}

export function loadPending(key: string): PendingAct[] {
  return JSON.parse(localStorage.getItem(key) ?? "[]") as PendingAct[];
}

/** How many acts of all categories wait here for the server. */
export function countPending(studyId: string, annotatorId: string): number {
  const start = storageKey(studyId, annotatorId, "").slice(0, -'""]'.length);
  return Object.keys(localStorage)
    .filter((key) => key.startsWith(start))
    .reduce((count, key) => count + loadPending(key).length, 0);
}

/** Adds what is new and takes out what is done, leaving other tabs' acts alone. False: the storage is full. */
export function savePending(key: string, before: PendingAct[], after: PendingAct[]): boolean {
  const gone = new Set(before.map((act) => act.request_id));
  const others = loadPending(key).filter((act) => !gone.has(act.request_id));
  const all = [...others, ...after];
  try {
    if (all.length === 0) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(all));
    return true;
  } catch (error) {
    if (error instanceof DOMException) return false;
    throw error;
  }
}
