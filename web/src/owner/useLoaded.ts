import { useCallback, useEffect, useRef, useState } from "react";

export interface Loaded<T> {
  data: T | null;
  /** What was thrown at the last load; null where it went well. */
  failure: unknown;
  reload: () => void;
}

/** What came of the last load, and of which, in which round. */
interface Outcome<T> {
  of: (() => Promise<T>) | null;
  round: number;
  data: T | null;
  failure: unknown;
}

const NOTHING_YET = { of: null, round: 0, data: null, failure: null };

/**
 * What `load` brings; loaded again when `load` is another function, or on demand. What was loaded stays while the
 * same is loaded again and fails; of another `load` nothing stays, as it would answer what nobody asks any more.
 * An answer that is slower than the next round shows until that has its own.
 */
export function useLoaded<T>(load: () => Promise<T>): Loaded<T> {
  const [outcome, setOutcome] = useState<Outcome<T>>(NOTHING_YET);
  const [round, setRound] = useState(0);
  const wanted = useRef(load);
  useEffect(() => {
    wanted.current = load;
    const take = (of: (data: T | null) => Pick<Outcome<T>, "data" | "failure">) => {
      if (wanted.current !== load) return;
      setOutcome((last) => {
        if (last.of !== load) return { of: load, round, ...of(null) };
        return round < last.round ? last : { of: load, round, ...of(last.data) };
      });
    };
    load().then(
      (data) => take(() => ({ data, failure: null })),
      (failure: unknown) => take((data) => ({ data, failure })),
    );
  }, [load, round]);
  const { data, failure } = outcome.of === load ? outcome : NOTHING_YET;
  return { data, failure, reload: useCallback(() => setRound((one) => one + 1), []) };
}
