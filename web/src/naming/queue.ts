/**
 * Acts on their way to the server: painted at once, sent in order, one at a time. What has
 * been done is `confirmed` by the server, what is `pending` is done again on top of it.
 */
import type { Command, Naming } from "../api/openapi";
import { apply, DoesNotApply, type View, viewOf } from "./naming";

export interface PendingAct {
  request_id: string;
  command: Command;
}

export interface Queue {
  confirmed: View;
  pending: PendingAct[];
}

/** How the server took an act. */
export type Answer =
  | { kind: "done"; naming: Naming }
  // Another tab was first; `naming` is what it left.
  | { kind: "stale"; naming: Naming }
  // The act is wrong and stays wrong.
  | { kind: "refused"; message: string }
  // Nobody answered, or the server is in trouble: worth another try.
  | { kind: "unreachable"; message: string }
  // The invitation is no longer good in this browser.
  | { kind: "signed_out"; message: string };

/** The naming as the hand sees it. */
export function present({ confirmed, pending }: Queue): View {
  return pending.reduce(paint, confirmed);
}

/** What does not apply is not painted: the server has the last word on it. */
function paint(view: View, { command }: PendingAct): View {
  try {
    return apply(view, command);
  } catch (error) {
    if (error instanceof DoesNotApply) return view;
    throw error;
  }
}

/** Throws DoesNotApply where the act makes no sense now. */
export function enqueue(queue: Queue, act: PendingAct): Queue {
  apply(present(queue), act.command);
  return { ...queue, pending: [...queue.pending, act] };
}

/** The first pending act is done. */
export function acknowledge({ confirmed, pending }: Queue, naming: Naming): Queue {
  const [first, ...rest] = pending;
  if (!first) throw new Error("an answer came without an act");
  return { confirmed: { ...paint(confirmed, first), naming }, pending: rest };
}

/**
 * Puts the pending acts on another state. Those that make no sense there are lost, and so
 * are undo and redo, which would now take back another tab's act.
 */
export function rebase(queue: Queue, naming: Naming): { queue: Queue; lost: number } {
  const acts = queue.pending.filter(({ command }) => !command.undo && !command.redo);
  const kept = replayable(viewOf(naming), acts);
  return {
    queue: { confirmed: viewOf(naming), pending: kept },
    lost: queue.pending.length - kept.length,
  };
}

/** The first pending act was refused: it is dropped with those that rested on it. */
export function refuse({ confirmed, pending }: Queue): { queue: Queue; lost: number } {
  const kept = replayable(confirmed, pending.slice(1));
  return { queue: { confirmed, pending: kept }, lost: pending.length - kept.length };
}

function replayable(start: View, acts: PendingAct[]): PendingAct[] {
  let view = start;
  return acts.filter((act) => {
    try {
      view = apply(view, act.command);
      return true;
    } catch (error) {
      if (error instanceof DoesNotApply) return false;
      throw error;
    }
  });
}
