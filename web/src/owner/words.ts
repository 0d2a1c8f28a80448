/** How numbers and states are written. */
import type { LinkState, StudyState } from "../api/openapi";

export const STATE_WORDS: Record<StudyState, string> = {
  STUDY_STATE_UNSPECIFIED: "unknown",
  STUDY_STATE_DRAFT: "draft",
  STUDY_STATE_OPEN: "open",
  STUDY_STATE_CLOSED: "closed",
};

/** A share with one decimal in percent; an undefined one (0/0) is an en dash. */
export function percent(share: number | undefined): string {
  return share === undefined ? "–" : `${(100 * share).toFixed(1)}\u00a0%`;
}

/** How far something is, in whole percent; never 100 before the end. */
export function percentOf(done: number, total: number): string {
  return total === 0 ? "" : `${Math.floor((100 * done) / total)}\u00a0%`;
}

export const LINK_WORDS: Record<LinkState, string> = {
  LINK_STATE_UNSPECIFIED: "unknown",
  LINK_STATE_GOOD: "good",
  LINK_STATE_EXPIRED: "expired",
  LINK_STATE_REVOKED: "revoked",
  LINK_STATE_NONE: "none",
};
