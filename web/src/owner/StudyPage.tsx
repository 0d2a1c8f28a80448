import { useCallback, useEffect, useState } from "react";
import { answered, api, messageOf } from "../api/client";
import { Annotators } from "./Annotators";
import { CoverageTable } from "./CoverageTable";
import { OwnerHeader } from "./OwnerHeader";
import { SummaryTable } from "./SummaryTable";
import { useLoaded } from "./useLoaded";
import { STATE_WORDS } from "./words";

const PROGRESS_EVERY_MS = 5000;

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
  useEffect(() => {
    const timer = setInterval(reload, PROGRESS_EVERY_MS);
    return () => clearInterval(timer);
  }, [reload]);
  const [refusal, setRefusal] = useState<string | null>(null);

  async function turn(path: "/api/studies/{study_id}/open" | "/api/studies/{study_id}/close") {
    try {
      await answered(api.POST(path, { params: { path: { study_id: studyId } } }));
      setRefusal(null);
      reload();
    } catch (error) {
      setRefusal(messageOf(error));
    }
  }

  return (
    <>
      <OwnerHeader />
      <main className="paper">
        {(failure ?? refusal) && <p className="band">{failure ?? refusal}</p>}
        {data && (
          <>
            <h1>{data.study.name}</h1>
            <p className="facts">
              <span>
                <strong>{STATE_WORDS[data.study.state]}</strong>, {data.study.activation_count}{" "}
                activations in {data.study.categories.length}{" "}
                {data.study.categories.length === 1 ? "category" : "categories"}, model{" "}
                {data.study.model}, data set {data.study.dataset}
              </span>
              {data.study.state === "STUDY_STATE_OPEN" ? (
                <button type="button" onClick={() => turn("/api/studies/{study_id}/close")}>
                  Close the study
                </button>
              ) : (
                <button type="button" onClick={() => turn("/api/studies/{study_id}/open")}>
                  Open the study
                </button>
              )}
            </p>
            <Annotators study={data.study} annotators={data.annotators} onInvited={reload} />
            <CoverageTable study={data.study} annotators={data.annotators} />
            {data.annotators.length > 0 && (
              <SummaryTable study={data.study} annotators={data.annotators} />
            )}
          </>
        )}
      </main>
    </>
  );
}
