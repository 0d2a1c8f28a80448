import { useCallback, useEffect, useState } from "react";
import { ApiError } from "../api/client";
import type { Job, Study } from "../api/openapi";
import { Failure } from "../Failure";
import { counted } from "../naming/words";
import { store, stored } from "../storage";
import { loadMapsJob, startMaps } from "./studies";

const LOOK_EVERY_MS = 1000;
const WARNINGS_SHOWN = 5;

/** Starts a study's maps, shows how far they are, and afterwards what its owner should know of them. */
export function StudyMaps({ study, onDone }: { study: Study; onDone: () => void }) {
  const key = `onoma/maps-job/${study.study_id}`;
  const [jobId, setJobId] = useState(() => stored(key));
  const [job, setJob] = useState<Job | null>(null);
  const [refusal, setRefusal] = useState<unknown>(null);
  const isOver = job !== null && !["JOB_STATE_PENDING", "JOB_STATE_RUNNING"].includes(job.state);

  const forget = useCallback(() => {
    store(key, null);
    setJobId(null);
    setJob(null);
  }, [key]);

  useEffect(() => {
    if (jobId === null || isOver) return;
    let isWanted = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = () =>
      loadMapsJob(jobId).then(
        (found) => {
          if (!isWanted) return;
          setJob(found);
          setRefusal(null);
          timer = setTimeout(look, LOOK_EVERY_MS);
          if (found.state !== "JOB_STATE_SUCCEEDED") return;
          if (found.warnings.length === 0) store(key, null);
          onDone();
        },
        (error: unknown) => {
          if (!isWanted) return;
          if (error instanceof ApiError && error.status === 404) forget();
          else {
            setRefusal(error);
            timer = setTimeout(look, LOOK_EVERY_MS);
          }
        },
      );
    void look();
    return () => {
      isWanted = false;
      clearTimeout(timer);
    };
  }, [jobId, isOver, key, forget, onDone]);

  async function start() {
    try {
      const started = await startMaps(study.study_id);
      store(key, started.job_id);
      setJob(started);
      setJobId(started.job_id);
      setRefusal(null);
    } catch (error) {
      setRefusal(error);
    }
  }

  const warnings = isOver ? job.warnings : [];
  if (study.activation_count > 0) return <Warnings lines={warnings} onClose={forget} />;
  if (study.xnn_set === "") {
    return (
      <section>
        <h2>Maps</h2>
        <p className="empty">
          This study takes maps made elsewhere: <code>onoma maps import</code> brings them.
        </p>
      </section>
    );
  }
  const failed = job?.state === "JOB_STATE_FAILED" || job?.state === "JOB_STATE_CANCELLED";
  return (
    <section>
      <h2>Maps</h2>
      {refusal !== null && <Failure error={refusal} />}
      {failed && (
        <p className="band" role="alert">
          The maps are not done{job.error && `: ${job.error}`}
        </p>
      )}
      <Warnings lines={warnings} />
      {job && !isOver ? (
        <Progress job={job} />
      ) : (
        <p className="facts">
          <span>There is nothing to name yet: the maps have to be drawn first.</span>
          <button type="button" className="main-act" onClick={start}>
            {failed ? "Try again" : "Compute the maps"}
          </button>
        </p>
      )}
    </section>
  );
}

/** What was left out or is worth knowing: the first few lines, and how many there are. */
function Warnings({ lines, onClose }: { lines: string[]; onClose?: () => void }) {
  if (lines.length === 0) return null;
  const unlike = [...new Set(lines)];
  const more = unlike.length - WARNINGS_SHOWN;
  return (
    <div className="band" role="status">
      <div className="warnings">
        {counted(unlike.length, "warning")} while the maps were drawn:
        <ul>
          {unlike.slice(0, WARNINGS_SHOWN).map((line) => (
            <li key={line}>{line}</li>
          ))}
          {more > 0 && <li>and {more} more</li>}
        </ul>
      </div>
      {onClose && (
        <button type="button" onClick={onClose}>
          Close
        </button>
      )}
    </div>
  );
}

function Progress({ job }: { job: Job }) {
  const [done, total] = [Number(job.done), Number(job.total)];
  return (
    <p className="facts" role="status">
      <progress
        className="progress"
        aria-label="Maps"
        {...(total > 0 ? { value: done, max: total } : {})}
      />
      <span>
        {job.stage || "waiting for a worker"}
        {total > 0 && `, ${done} of ${total}`}
        {job.rate_per_s > 0 && `, ${job.rate_per_s.toFixed(1)} a second`}
      </span>
    </p>
  );
}
