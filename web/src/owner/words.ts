/** How numbers and states are written. */
import type { Coverage, LinkState, StudyState } from "../api/openapi";

export const STATE_WORDS: Record<StudyState, string> = {
  STUDY_STATE_UNSPECIFIED: "unknown",
  STUDY_STATE_DRAFT: "draft",
  STUDY_STATE_OPEN: "open",
  STUDY_STATE_CLOSED: "closed",
};

/**
 * A share with one decimal in percent, as the report and the commands write it. Python rounds what lies exactly
 * between two decimals to the even one, toFixed up: they differ at .25 alone, as .75 is .8 to both.
 */
export function percent(share: number): string {
  const exact = 100 * share;
  return `${(exact % 1 === 0.25 ? exact - 0.05 : exact).toFixed(1)}\u00a0%`;
}

/** Why a row of coverage has shares that are 0/0. */
export function whyUndefined(row: Coverage): string {
  if (row.activation_count === 0) return "not defined: this category has no significant activation";
  return row.annotator_id
    ? "not defined: this annotator has not begun this category"
    : "not defined: nobody has begun this category";
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
