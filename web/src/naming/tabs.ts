/** What the tabs of one browser tell each other about one naming. */

export type TabMessage = { kind: "changed"; category: string } | { kind: "signed_in" };

let channel: BroadcastChannel | null = null;

/** Hears the other tabs of this annotator until the returned function is called. */
export function hearOtherTabs(
  studyId: string,
  annotatorId: string,
  onMessage: (message: TabMessage) => void,
): () => void {
  const opened = new BroadcastChannel(`onoma/${JSON.stringify([studyId, annotatorId])}`);
  opened.onmessage = (event: MessageEvent<TabMessage>) => onMessage(event.data);
  channel = opened;
  return () => {
    opened.close();
    if (channel === opened) channel = null;
  };
}

export function tellOtherTabs(message: TabMessage): void {
  channel?.postMessage(message);
}
