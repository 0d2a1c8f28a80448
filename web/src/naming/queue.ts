/**
 * Acts on their way to the server: painted at once, sent in order, one at a time. What has
 * been done is `confirmed` by the server, what is `pending` is done again on top of it.
 */
import type { Command, Naming, NamingChange } from "../api/openapi";
import { after as namingAfter } from "./changes";
import { apply, DoesNotApply, isSameNaming, reusing, type View, viewOf } from "./naming";

export interface PendingAct {
  request_id: string;
  command: Command;
  /** Of undo and redo: the revision they were meant for. At another one they would take back another tab's act. */
  meant_for?: string;
}

export interface Queue {
  confirmed: View;
  pending: PendingAct[];
}

/** What an act has changed; the naming as it stands where the server had taken the act before. */
export type Done = { change: NamingChange } | { naming: Naming };

/** How the server took an act. */
export type Answer =
  | ({ kind: "done" } & Done)
  // Another tab was first; `naming` is what it left.
  | { kind: "stale"; naming: Naming }
  // The act is wrong and stays wrong.
  | { kind: "refused"; message: string }
  // The study has ended: neither this act nor any other is taken.
  | { kind: "closed"; message: string }
  // Nobody answered (no message), or the server is in trouble: worth another try.
  | { kind: "unreachable"; message: string }
  // The invitation is no longer good in this browser.
  | { kind: "signed_out"; message: string };

/** What is painted already is not worked out again: an act costs one step, however many wait. */
const painted = new WeakMap<Queue, View>();

/** The naming as the hand sees it. */
export function present(queue: Queue): View {
  const view = painted.get(queue) ?? queue.pending.reduce(paint, queue.confirmed);
  painted.set(queue, view);
  return view;
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
  const view = apply(present(queue), act.command);
  const revision = Number(queue.confirmed.naming.revision) + queue.pending.length;
  const added = standsAlone(act) ? act : { ...act, meant_for: `${revision}` };
  const after = { ...queue, pending: [...queue.pending, added] };
  painted.set(after, view);
  return after;
}

/** The first pending act is done. */
export function acknowledge(queue: Queue, done: Done): Queue {
  const [first, ...rest] = queue.pending;
  if (!first) throw new Error("an answer came without an act");
  const known = queue.confirmed.naming;
  const naming = "naming" in done ? done.naming : namingAfter(known, done.change);
  if (!naming) throw new Error("the answer to an act starts from another revision than its own");
  const expected = paint(queue.confirmed, first);
  if (isSameNaming(expected.naming, naming)) {
    const after = { confirmed: expected, pending: rest };
    painted.set(after, rest.length === 0 ? expected : present(queue));
    return after;
  }
  const settled = reusing(expected.naming, naming);
  // Where another device has acted since, the states that are known here are not those that undo leads to.
  const isAlone = naming.revision === expected.naming.revision;
  return { confirmed: isAlone ? { ...expected, naming: settled } : viewOf(settled), pending: rest };
}

/**
 * Puts the pending acts on another state. Those that make no sense there are lost, and so
 * are undo and redo, which would now take back another tab's act.
 */
export function rebase(queue: Queue, naming: Naming): { queue: Queue; lost: number } {
  const acts = queue.pending.filter(standsAlone);
  const start = viewOf(reusing(queue.confirmed.naming, naming));
  const kept = replayable(start, acts);
  return {
    queue: { confirmed: start, pending: kept },
    lost: queue.pending.length - kept.length,
  };
}

/** Neither undo nor redo, which mean the act that was last then. */
function standsAlone({ command }: PendingAct): boolean {
  return !command.undo && !command.redo;
}

/** The first pending act was refused: it is dropped with those that rested on it, as undo and redo do. */
export function refuse({ confirmed, pending }: Queue): { queue: Queue; lost: number } {
  const kept = replayable(confirmed, pending.slice(1).filter(standsAlone));
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
