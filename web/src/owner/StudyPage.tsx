import { useCallback, useEffect, useState } from "react";
import { answered, api } from "../api/client";
import { listen } from "../api/events";
import type { Annotator, WatchAnnotatorsResponse } from "../api/openapi";
import { Failure } from "../Failure";
import { counted } from "../naming/words";
import { Annotators } from "./Annotators";
import { CloseStudy } from "./CloseStudy";
import { CoverageTable } from "./CoverageTable";
import { OwnerHeader } from "./OwnerHeader";
import { Results } from "./Results";
import { StudyMaps } from "./StudyMaps";
import { SummaryTable } from "./SummaryTable";
import { namers, progressEventsUrl } from "./studies";
import { useLoaded } from "./useLoaded";
import { STATE_WORDS } from "./words";

const PROGRESS_EVERY_MS = 5000;
const PROGRESS_BESIDE_EVENTS_MS = 60_000;

/** One study: who names it, how far they are, and what their names say. */
export function StudyPage({ studyId }: { studyId: string }) {
  const load = useCallback(async () => {
    const params = { path: { study_id: studyId } };
    const [{ study }, { annotators }] = await Promise.all([
      answered(api.GET("/api/studies/{study_id}", { params })),
      answered(api.GET("/api/studies/{study_id}/annotators", { params })),
    ]);
    if (!study) throw new Error("the server answered without a study");
    return { study, annotators };
  }, [studyId]);
  const { data, failure, reload } = useLoaded(load);
  const { live, forget } = useLiveAnnotators(studyId, reload);
  const annotators = live ?? data?.annotators ?? [];
  const [refusal, setRefusal] = useState<unknown>(null);

  function onChanged() {
    forget();
    reload();
  }

  async function turn(path: "/api/studies/{study_id}/open" | "/api/studies/{study_id}/close") {
    try {
      await answered(api.POST(path, { params: { path: { study_id: studyId } } }));
      setRefusal(null);
      reload();
    } catch (error) {
      setRefusal(error);
    }
  }

  return (
    <>
      {data && <title>{`${data.study.name} – Onoma`}</title>}
      <OwnerHeader />
      <main className="paper">
        {failure !== null && <Failure error={failure} onAgain={reload} />}
        {refusal !== null && <Failure error={refusal} />}
        {failure !== null && !data && (
          <p>
            <a href="/">All studies of this server</a>
          </p>
        )}
        {data && (
          <>
            <h1>
              <bdi>{data.study.name}</bdi>
            </h1>
            <div className="facts">
              <span>
                <strong>{STATE_WORDS[data.study.state]}</strong>,{" "}
                {counted(data.study.activation_count, "activation")} in{" "}
                {counted(data.study.categories.length, "category", "categories")}, model{" "}
                {data.study.model}, data set {data.study.dataset}
              </span>
              {data.study.state === "STUDY_STATE_OPEN" && (
                <CloseStudy
                  annotatorCount={namers(annotators).length}
                  onClose={() => turn("/api/studies/{study_id}/close")}
                />
              )}
              {data.study.state === "STUDY_STATE_DRAFT" && data.study.activation_count > 0 && (
                <button
                  type="button"
                  className="main-act"
                  onClick={() => turn("/api/studies/{study_id}/open")}
                >
                  Open the study
                </button>
              )}
            </div>
            <StudyMaps study={data.study} onDone={reload} />
            <Annotators study={data.study} annotators={annotators} onChanged={onChanged} />
            {data.study.activation_count > 0 && <Results studyId={studyId} />}
            {data.study.activation_count > 0 && (
              <CoverageTable study={data.study} annotators={namers(annotators)} />
            )}
            {data.study.activation_count > 0 && namers(annotators).length > 0 && (
              <SummaryTable study={data.study} annotators={namers(annotators)} />
            )}
          </>
        )}
      </main>
    </>
  );
}

/** The annotators as the server streams them; asked for again and again while it does not. */
function useLiveAnnotators(studyId: string, reload: () => void) {
  const [live, setLive] = useState<Annotator[] | null>(null);
  const isStreamed = live !== null;
  useEffect(
    () =>
      listen<WatchAnnotatorsResponse>(progressEventsUrl(studyId), ({ annotators }) =>
        setLive(annotators),
      ),
    [studyId],
  );
  useEffect(() => {
    const every = isStreamed ? PROGRESS_BESIDE_EVENTS_MS : PROGRESS_EVERY_MS;
    const timer = setInterval(reload, every);
    return () => clearInterval(timer);
  }, [reload, isStreamed]);
  /** What was streamed is older than what is about to be loaded. */
  const forget = useCallback(() => setLive(null), []);
  return { live, forget };
}
