import { useCallback, useEffect, useState } from "react";

export interface Loaded<T> {
  data: T | null;
  /** What was thrown at the last load; null where it went well. */
  failure: unknown;
  reload: () => void;
}

/** What `load` brings; loaded again when `load` is another function, or on demand. What was loaded stays while a later load fails. */
export function useLoaded<T>(load: () => Promise<T>): Loaded<T> {
  const [state, setState] = useState<Omit<Loaded<T>, "reload">>({ data: null, failure: null });
  const [round, setRound] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new round is a new load
  useEffect(() => {
    let wanted = true;
    load().then(
      (data) => wanted && setState({ data, failure: null }),
      (failure: unknown) => wanted && setState(({ data }) => ({ data, failure })),
    );
    return () => {
      wanted = false;
    };
  }, [load, round]);
  return { ...state, reload: useCallback(() => setRound((one) => one + 1), []) };
}
