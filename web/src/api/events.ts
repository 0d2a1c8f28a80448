/** Server-sent events of the gateway: a stream that is open while the page is looked at. */

const AGAIN_MS = 20_000;
/** The server ends each stream before, so that one of which nothing is heard so long has nobody at its other end. */
const LONGEST_SILENCE_MS = 100_000;

/**
 * Calls `onData` with each event's JSON while the tab is visible. The browser connects again
 * when a stream ends; where one is refused, it is asked for again now and then.
 *
 * @param onAgain called when the stream is there again after it was not.
 * @returns ends it.
 */
export function listen<T>(url: string, onData: (data: T) => void, onAgain = () => {}): () => void {
  let source: EventSource | null = null;
  let wasOpen = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function heard(): void {
    clearTimeout(timer);
    timer = setTimeout(reopen, LONGEST_SILENCE_MS);
  }

  function reopen(): void {
    close();
    open();
  }

  function open(): void {
    clearTimeout(timer);
    if (source || document.visibilityState !== "visible") return;
    source = new EventSource(url);
    heard();
    source.onopen = () => {
      heard();
      if (wasOpen) onAgain();
      wasOpen = true;
    };
    source.onmessage = (event: MessageEvent<string>) => {
      heard();
      onData(JSON.parse(event.data) as T);
    };
    source.onerror = () => {
      heard();
      if (source?.readyState !== EventSource.CLOSED) return;
      clearTimeout(timer);
      source = null;
      timer = setTimeout(open, AGAIN_MS);
    };
  }

  function close(): void {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  const onVisibility = () => (document.visibilityState === "visible" ? open() : close());
  document.addEventListener("visibilitychange", onVisibility);
  open();
  return () => {
    document.removeEventListener("visibilitychange", onVisibility);
    close();
  };
}
