/** Sends the acts of a queue, waits and tries again when nobody answers. */
import { type Answer, acknowledge, type PendingAct, type Queue, rebase, refuse } from "./queue";

export type Saving =
  // `elsewhere`: what is shown now was changed in another tab or on another device.
  | { kind: "saved"; elsewhere?: boolean }
  | { kind: "saving" }
  | { kind: "offline"; message: string }
  | { kind: "signed_out"; message: string };

export interface Wiring {
  read: () => Queue;
  write: (queue: Queue) => void;
  send: (act: PendingAct, baseRevision: string) => Promise<Answer>;
  report: (saving: Saving) => void;
  /** Tells the annotator what was lost, and why; or that nothing was. */
  tell: (message: string, isLoss: boolean) => void;
  /** What is shown is no longer what this tab's acts made of it. */
  met: () => void;
  /** The study was closed in the meantime. */
  closed: () => void;
  /** Resolves after this long, or when there is reason to try earlier. */
  wait: (ms: number) => Promise<void>;
}

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15_000;

/** Returns a function that sends whatever is pending; calling it while it runs is free. */
export function createSender(wiring: Wiring): () => Promise<void> {
  let running = false;
  let isStuck = false;

  async function drain(): Promise<void> {
    let waitMs = FIRST_WAIT_MS;
    for (let act = wiring.read().pending[0]; act; act = wiring.read().pending[0]) {
      // What stands in the way stays said until the server answers: trying may take long, and a link is being typed.
      if (!isStuck) wiring.report({ kind: "saving" });
      const { revision } = wiring.read().confirmed.naming;
      const answer = await wiring.send(act, act.meant_for ?? revision);
      isStuck = answer.kind === "signed_out" || answer.kind === "unreachable";
      if (answer.kind === "signed_out") {
        wiring.report(answer);
        return;
      }
      if (answer.kind === "unreachable") {
        wiring.report({ kind: "offline", message: answer.message });
        await wiring.wait(waitMs);
        waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
        continue;
      }
      waitMs = FIRST_WAIT_MS;
      take(answer);
    }
    wiring.report({ kind: "saved" });
  }

  function take(answer: Extract<Answer, { kind: "done" | "stale" | "refused" | "closed" }>): void {
    if (answer.kind === "done") {
      const before = revisionOf(wiring.read());
      wiring.write(acknowledge(wiring.read(), answer));
      // The answer was lost once, and another device has acted in between.
      if (revisionOf(wiring.read()) > before + 1) wiring.met();
      return;
    }
    if (answer.kind === "refused") {
      const { queue, lost } = refuse(wiring.read());
      wiring.write(queue);
      wiring.met();
      wiring.tell(`${changes(lost)} not taken: ${answer.message}`, true);
      return;
    }
    if (answer.kind === "closed") {
      const { confirmed, pending } = wiring.read();
      wiring.write({ confirmed, pending: [] });
      wiring.tell(`${changes(pending.length)} not taken: the study was closed before.`, true);
      wiring.closed();
      return;
    }
    const { queue, lost } = rebase(wiring.read(), answer.naming);
    wiring.write(queue);
    wiring.met();
    wiring.tell(
      lost === 0
        ? "This naming was also changed in another tab; both changes are here."
        : `This naming was also changed in another tab; ${changes(lost)} of this tab no longer fitted.`,
      lost > 0,
    );
  }

  return async () => {
    if (running) return;
    running = true;
    try {
      await drain();
    } finally {
      running = false;
    }
  };
}

function revisionOf({ confirmed }: Queue): number {
  return Number(confirmed.naming.revision);
}

function changes(count: number): string {
  return count === 1 ? "1 change" : `${count} changes`;
}
