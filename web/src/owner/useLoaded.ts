import { useCallback, useEffect, useState } from "react";

export interface Loaded<T> {
  data: T | null;
  /** What was thrown at the last load; null where it went well. */
  failure: unknown;
  reload: () => void;
}

/** What came of the last load, and of which. */
interface Outcome<T> {
  of: (() => Promise<T>) | null;
  data: T | null;
  failure: unknown;
}

const NOTHING_YET = { of: null, data: null, failure: null };

/**
 * What `load` brings; loaded again when `load` is another function, or on demand. What was loaded stays while the
 * same is loaded again and fails; of another `load` nothing stays, as it would answer what nobody asks any more.
 */
export function useLoaded<T>(load: () => Promise<T>): Loaded<T> {
  const [outcome, setOutcome] = useState<Outcome<T>>(NOTHING_YET);
  const [round, setRound] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new round is a new load
  useEffect(() => {
    let wanted = true;
    load().then(
      (data) => wanted && setOutcome({ of: load, data, failure: null }),
      (failure: unknown) =>
        wanted &&
        setOutcome((last) => ({ of: load, data: last.of === load ? last.data : null, failure })),
    );
    return () => {
      wanted = false;
    };
  }, [load, round]);
  const { data, failure } = outcome.of === load ? outcome : NOTHING_YET;
  return { data, failure, reload: useCallback(() => setRound((one) => one + 1), []) };
}
