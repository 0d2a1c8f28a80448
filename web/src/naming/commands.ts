/** The commands a hand can give. New concepts get their ids here, so that later acts can name them. */
import type { Command, DiscardReason } from "../api/openapi";

export function createConcept(activation_ids: string[], name = ""): Command {
  return { create: { concept_id: newId(), name, activation_ids } };
}

export function renameConcept(concept_id: string, name: string): Command {
  return { rename: { concept_id, name } };
}

export function assign(concept_id: string, activation_ids: string[]): Command {
  return { assign: { concept_id, activation_ids } };
}

export function unassign(activation_ids: string[]): Command {
  return { unassign: { activation_ids } };
}

export function discard(
  activation_ids: string[],
  reason: DiscardReason = "DISCARD_REASON_UNSPECIFIED",
): Command {
  return { discard: { activation_ids, reason } };
}

export function merge(source_concept_id: string, target_concept_id: string): Command {
  return { merge: { source_concept_id, target_concept_id } };
}

export function split(concept_id: string, activation_ids: string[], name = ""): Command {
  return { split: { concept_id, new_concept_id: newId(), name, activation_ids } };
}

export function deleteConcept(concept_id: string): Command {
  return { delete: { concept_id } };
}

export const UNDO: Command = { undo: {} };
export const REDO: Command = { redo: {} };

/** A UUID, also on pages that are not served over https, where crypto.randomUUID is missing. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
