import { useCallback, useEffect, useState } from "react";
import { messageOf } from "../api/client";

export interface Loaded<T> {
  data: T | null;
  failure: string | null;
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
      (error: unknown) => wanted && setState(({ data }) => ({ data, failure: messageOf(error) })),
    );
    return () => {
      wanted = false;
    };
  }, [load, round]);
  return { ...state, reload: useCallback(() => setRound((one) => one + 1), []) };
}
