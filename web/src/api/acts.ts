/** Sends acts, and tells from the answer what comes next. */
import type { Answer, PendingAct } from "../naming/queue";
import { ApiError, answered, api, type NamingAddress, NoAnswerError } from "./client";
import { loadNaming } from "./naming";
import type { Command } from "./openapi";

/** A connection may be open with nobody at its other end; whether an act was taken, its request id says. */
const LONGEST_ANSWER_MS = 20_000;

/** Sends one act; never throws for what a network or server can do. */
export async function sendAct(
  address: NamingAddress,
  act: PendingAct,
  base_revision: string,
): Promise<Answer> {
  const { category, ...path } = address;
  const { request_id, command } = act;
  try {
    const { naming, change } = await answered(
      api.POST("/api/studies/{study_id}/annotators/{annotator_id}/acts", {
        params: { path },
        body: { category, request_id, base_revision, command: command as Command },
        signal: AbortSignal.timeout(LONGEST_ANSWER_MS),
      }),
    );
    if (change) return { kind: "done", change };
    if (naming) return { kind: "done", naming };
    return { kind: "unreachable", message: "the server answered without what the act changed" };
  } catch (error) {
    return isStale(error, act) ? presentOf(error, address) : answerOf(error);
  }
}

function isStale(error: unknown, act: PendingAct): error is ApiError {
  if (!(error instanceof ApiError)) return false;
  const { reason } = error.problem;
  // An act before it was not taken: the naming has not come to the revision that it was meant for.
  return reason === "STALE_REVISION" || (reason === "UNKNOWN_REVISION" && !!act.meant_for);
}

/** What another tab left: it comes with the refusal where it is small, and is asked for where not. */
async function presentOf({ problem }: ApiError, address: NamingAddress): Promise<Answer> {
  try {
    const signal = AbortSignal.timeout(LONGEST_ANSWER_MS);
    return { kind: "stale", naming: problem.naming ?? (await loadNaming(address, signal)) };
  } catch (error) {
    return answerOf(error);
  }
}

function answerOf(error: unknown): Answer {
  if (error instanceof NoAnswerError) return { kind: "unreachable", message: "" };
  if (!(error instanceof ApiError)) throw error;
  const { status, message, problem } = error;
  if (status === 401 || status === 403) return { kind: "signed_out", message };
  if (error.isPassing) return { kind: "unreachable", message };
  return { kind: problem.reason === "STUDY_CLOSED" ? "closed" : "refused", message };
}
