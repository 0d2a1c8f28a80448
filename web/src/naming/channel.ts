/**
 * One category's way to the server: its queue, what keeps it over a closed tab, and its
 * sender. It goes on sending when the page has turned to another category.
 */
import { sendAct } from "../api/acts";
import type { NamingAddress } from "../api/client";
import type { Command, Naming, NamingChange } from "../api/openapi";
import { after } from "./changes";
import { newId } from "./commands";
import { reusing, viewOf } from "./naming";
import { loadPending, savePending, storageKey } from "./pendingStorage";
import { enqueue, type PendingAct, type Queue } from "./queue";
import { createSender, type Saving } from "./sender";

/** A hidden page paints nothing: then an act waits so long. */
const UNPAINTED_MS = 100;

export interface Channel {
  queue: () => Queue;
  /**
   * Paints an act, then keeps and sends it; throws DoesNotApply where it makes no sense now.
   * It is kept before it is sent, and before the page is left.
   */
  act: (command: Command) => void;
  /** Takes in a later state of the server, where nothing is waiting. */
  meet: (naming: Naming) => void;
  /** The same by what has changed; false where that starts later than what is known here. */
  follow: (change: NamingChange) => boolean;
  /** Tries to send what is waiting, now. */
  retry: () => void;
}

export interface Listener {
  changed: (queue: Queue) => void;
  saving: (saving: Saving) => void;
  tell: (message: string) => void;
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
  let tryEarlier = () => {};

  function paint(after: Queue): void {
    queue = after;
    listener.changed(queue);
  }

  function keep(): void {
    if (kept === queue.pending) return;
    if (!savePending(key, kept, queue.pending)) {
      listener.tell(
        "This browser's storage is full: keep this tab open until everything is saved.",
      );
    }
    kept = queue.pending;
  }

  function write(after: Queue): void {
    paint(after);
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
    report: listener.saving,
    tell: listener.tell,
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
    listener.met();
  }

  window.addEventListener("pagehide", keep);
  void send();
  return {
    queue: () => queue,
    meet,
    follow: (change) => {
      const known = queue.confirmed.naming;
      if (queue.pending.length > 0 || !isLater(change.revision, known)) return true;
      const naming = after(known, change);
      if (naming) meet(naming);
      return naming !== null;
    },
    act: (command) => {
      paint(enqueue(queue, { request_id: newId(), command }));
      afterPaint(() => {
        keep();
        void send();
      });
    },
    retry: () => {
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
