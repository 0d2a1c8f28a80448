import { type CSSProperties, useEffect, useLayoutEffect } from "react";
import { listen } from "../api/events";
import { namingEventsUrl } from "../api/naming";
import type { WatchNamingResponse } from "../api/openapi";
import { ActBar } from "./ActBar";
import { Bands, NoticeBands } from "./Bands";
import { Grid } from "./Grid";
import { GridBar } from "./GridBar";
import { Help } from "./Help";
import { LargeView } from "./LargeView";
import { LinkAgain } from "./LinkAgain";
import { MergeDialog } from "./MergeDialog";
import { openNaming, refresh, refreshStudy, rememberStands, retryNow } from "./opening";
import { countPending } from "./pendingStorage";
import { Shelf } from "./Shelf";
import { listenToKeys } from "./shortcuts";
import { addressNow, type Failure, useNaming } from "./store";
import { TopBar } from "./TopBar";
import { hearOtherTabs } from "./tabs";
import { counted, sentence } from "./words";

interface NamingPageProps {
  studyId: string;
  annotatorId: string;
  category: string | null;
}

/** One annotator's naming of one category at a time. */
export function NamingPage({ studyId, annotatorId, category }: NamingPageProps) {
  const failure = useNaming((state) => state.failure);
  const opacity = useNaming((state) => (state.plain ? 0 : state.opacity));
  const study = useNaming((state) => state.study?.name);
  const shownCategory = useNaming((state) => state.category);
  const said = useNaming((state) => state.said);
  useOpened(studyId, annotatorId, category);
  useEffect(listenToKeys, []);
  useElsewhere(studyId, annotatorId);

  return (
    <div className="naming" style={{ "--map-opacity": opacity / 100 } as CSSProperties}>
      {study && shownCategory && <title>{`${shownCategory}, ${study} – Onoma`}</title>}
      <TopBar />
      <Bands />
      {failure ? (
        <NotShown failure={failure} waiting={countPending(studyId, annotatorId)} />
      ) : (
        <main className="bench">
          <section className="workspace" aria-label="Examples">
            <GridBar />
            <Grid />
            <NoticeBands />
            <ActBar />
          </section>
          <Shelf />
        </main>
      )}
      <p className="unseen" role="status">
        {said}
      </p>
      <LargeView />
      <MergeDialog />
      <Help />
    </div>
  );
}

function NotShown({ failure, waiting }: { failure: Failure; waiting: number }) {
  return (
    <main className="empty-page">
      <h1>This naming cannot be shown</h1>
      <p>{sentence(failure.message)}</p>
      {waiting > 0 && (
        <p>
          {counted(waiting, "change")} {waiting === 1 ? "is" : "are"} kept in this browser and will
          be sent once the naming opens again.
        </p>
      )}
      {failure.isSignedOut ? <LinkAgain /> : <p>The page goes on trying by itself.</p>}
    </main>
  );
}

function useOpened(studyId: string, annotatorId: string, category: string | null): void {
  // What is shown is asked for before the empty page is painted.
  useLayoutEffect(() => {
    const forget = rememberStands();
    void openNaming(studyId, annotatorId, category);
    return forget;
  }, [studyId, annotatorId, category]);
}

/** What happens elsewhere: the network, other tabs, other devices. */
function useElsewhere(studyId: string, annotatorId: string): void {
  const channel = useNaming((state) => state.channel);

  useEffect(() => {
    const onReturn = () => {
      if (document.visibilityState !== "visible") return;
      retryNow();
      void refresh();
      void refreshStudy();
    };
    window.addEventListener("online", retryNow);
    document.addEventListener("visibilitychange", onReturn);
    const unhear = hearOtherTabs(studyId, annotatorId, (message) => {
      if (message.kind === "signed_in") retryNow();
      else if (message.category === useNaming.getState().category) void refresh();
    });
    return () => {
      window.removeEventListener("online", retryNow);
      document.removeEventListener("visibilitychange", onReturn);
      unhear();
    };
  }, [studyId, annotatorId]);

  useEffect(() => {
    if (!channel) return;
    return listen<WatchNamingResponse>(
      namingEventsUrl(addressNow()),
      ({ naming, change }) => {
        if (naming) channel.meet(naming);
        else if (change && !channel.follow(change)) void refresh();
      },
      () => {
        retryNow();
        void refreshStudy();
      },
    );
  }, [channel]);
}
