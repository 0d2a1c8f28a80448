/**
 * One category's way to the server: its queue, what keeps it over a closed tab, and its
 * sender. It goes on sending when the page has turned to another category.
 */
import { sendAct } from "../api/acts";
import type { NamingAddress } from "../api/client";
import type { Command, Naming, NamingChange } from "../api/openapi";
import { after as namingAfter } from "./changes";
import { newId } from "./commands";
import { reusing, viewOf } from "./naming";
import { loadPending, savePending, storageKey } from "./pendingStorage";
import { enqueue, type PendingAct, type Queue } from "./queue";
import { createSender, type Saving } from "./sender";

/** A hidden page paints nothing: then an act waits so long. */
const UNPAINTED_MS = 100;

export interface Channel {
  queue: () => Queue;
  saving: () => Saving;
  /**
   * Paints an act and that it waits, then keeps and sends it; throws DoesNotApply where it makes
   * no sense now. It is kept before it is sent, and before the page is left.
   */
  act: (command: Command) => void;
  /** Takes in a later state of the server, where nothing is waiting. */
  meet: (naming: Naming) => void;
  /** The same by what has changed; false where that starts later than what is known here. */
  follow: (change: NamingChange) => boolean;
  /** Tries to send what is waiting, now; says first how the saving stands. */
  retry: () => void;
}

export interface Listener {
  changed: (queue: Queue) => void;
  saving: (saving: Saving) => void;
  /** Says something for the annotator; a loss, or that one threatens, they must not miss. */
  tell: (message: string, isLoss: boolean) => void;
  /** A later state of another tab or device was taken in. */
  met: () => void;
  /** The server has taken an act of this tab. */
  done: () => void;
  /** The study was closed before an act came. */
  closed: () => void;
}

export function openChannel(address: NamingAddress, naming: Naming, listener: Listener): Channel {
  const key = storageKey(address.study_id, address.annotator_id, address.category);
  let queue: Queue = { confirmed: viewOf(naming), pending: loadPending(key) };
  let kept: PendingAct[] = queue.pending;
  let hasRoom = true;
  let saving: Saving = { kind: "saved" };
  let tryEarlier = () => {};

  function paint(next: Queue): void {
    queue = next;
    listener.changed(queue);
  }

  function report(now: Saving): void {
    saving = now;
    listener.saving(now);
  }

  function keep(): void {
    if (kept === queue.pending) return;
    const hadRoom = hasRoom;
    hasRoom = savePending(key, kept, queue.pending);
    if (hadRoom && !hasRoom) {
      listener.tell(
        "This browser's storage is full: keep this tab open until everything is saved.",
        true,
      );
    }
    kept = queue.pending;
  }

  function write(next: Queue): void {
    paint(next);
    keep();
  }

  const send = createSender({
    read: () => queue,
    write,
    send: async (act, baseRevision) => {
      keep();
      const answer = await sendAct(address, act, baseRevision);
      if (answer.kind === "done") listener.done();
      return answer;
    },
    report,
    tell: listener.tell,
    met: listener.met,
    closed: listener.closed,
    wait: (ms) =>
      new Promise((resolve) => {
        tryEarlier = resolve;
        setTimeout(resolve, ms);
      }),
  });

  function meet(naming: Naming): void {
    const { confirmed, pending } = queue;
    if (pending.length > 0 || !isLater(naming.revision, confirmed.naming)) return;
    write({ confirmed: viewOf(reusing(confirmed.naming, naming)), pending: [] });
    report({ kind: "saved", elsewhere: true });
    listener.met();
  }

  window.addEventListener("pagehide", keep);
  void send();
  return {
    queue: () => queue,
    saving: () => saving,
    meet,
    follow: (change) => {
      const known = queue.confirmed.naming;
      if (queue.pending.length > 0 || !isLater(change.revision, known)) return true;
      const naming = namingAfter(known, change);
      if (naming) meet(naming);
      return naming !== null;
    },
    act: (command) => {
      paint(enqueue(queue, { request_id: newId(), command }));
      // Not a frame later: nothing has the act yet. What is offline or signed out goes on to say so.
      if (saving.kind === "saved") report({ kind: "saving" });
      afterPaint(() => {
        keep();
        void send();
      });
    },
    retry: () => {
      report(saving);
      tryEarlier();
      void send();
    },
  };
}

/** Runs something once the frame is painted that this task has changed. */
function afterPaint(run: () => void): void {
  let isDone = false;
  const once = () => {
    if (isDone) return;
    isDone = true;
    run();
  };
  requestAnimationFrame(() => setTimeout(once));
  setTimeout(once, UNPAINTED_MS);
}

function isLater(revision: string, known: Naming): boolean {
  return Number(revision) > Number(known.revision);
}
