import { type CSSProperties, useEffect } from "react";
import { Grid } from "./Grid";
import { GridBar } from "./GridBar";
import { Help } from "./Help";
import { LargeView } from "./LargeView";
import { Shelf } from "./Shelf";
import { onKeyDown, onKeyUp } from "./shortcuts";
import { openNaming, refresh, retryNow, useNaming } from "./store";
import { TopBar } from "./TopBar";

interface NamingPageProps {
  studyId: string;
  annotatorId: string;
  category: string | null;
}

/** One annotator's naming of one category at a time. */
export function NamingPage({ studyId, annotatorId, category }: NamingPageProps) {
  const failure = useNaming((state) => state.failure);
  const notice = useNaming((state) => state.notice);
  const opacity = useNaming((state) => (state.plain ? 0 : state.opacity));
  const closed = useNaming((state) => state.study?.state === "STUDY_STATE_CLOSED");

  useEffect(() => {
    void openNaming(studyId, annotatorId, category);
  }, [studyId, annotatorId, category]);

  useEffect(() => {
    const onReturn = () => document.visibilityState === "visible" && void refresh();
    window.addEventListener("keydown", onKeyDown);
    window.addEventListener("keyup", onKeyUp);
    window.addEventListener("online", retryNow);
    document.addEventListener("visibilitychange", onReturn);
    return () => {
      window.removeEventListener("keydown", onKeyDown);
      window.removeEventListener("keyup", onKeyUp);
      window.removeEventListener("online", retryNow);
      document.removeEventListener("visibilitychange", onReturn);
    };
  }, []);

  return (
    <div className="naming" style={{ "--map-opacity": opacity / 100 } as CSSProperties}>
      <TopBar />
      {closed && (
        <p className="band">This study is closed. What you named is kept; nothing more is taken.</p>
      )}
      {notice && (
        <p className="band" role="alert">
          {notice}
          <button type="button" onClick={() => useNaming.setState({ notice: null })}>
            Close
          </button>
        </p>
      )}
      {failure ? (
        <main className="empty-page">
          <h1>This naming cannot be shown</h1>
          <p>{failure}</p>
        </main>
      ) : (
        <main className="bench">
          <section className="workspace" aria-label="Examples">
            <GridBar />
            <Grid />
          </section>
          <Shelf />
        </main>
      )}
      <LargeView />
      <Help />
    </div>
  );
}
