import { useState } from "react";
import { resultUrl } from "../api/client";
import { reportUrl, waitForReport } from "../api/report";
import { Failure } from "../Failure";

/** What comes of a study: its report, and its namings as files. */
export function Results({ studyId }: { studyId: string }) {
  const [isWriting, setWriting] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);

  async function write() {
    setWriting(true);
    setFailure(null);
    try {
      await waitForReport(studyId, true);
      location.assign(reportUrl(studyId));
    } catch (error) {
      setFailure(error);
    } finally {
      setWriting(false);
    }
  }

  return (
    <section>
      <h2>Results</h2>
      <p className="choices">
        <button type="button" disabled={isWriting} onClick={write}>
          Write the report
        </button>
        <a href={reportUrl(studyId)}>the last one written</a>
        <a href={resultUrl(studyId, "report/report.zip")} download>
          all its files
        </a>
        <a href={resultUrl(studyId, "namings.json")} download>
          namings as JSON
        </a>
        <a href={resultUrl(studyId, "namings.csv")} download>
          as CSV
        </a>
      </p>
      {isWriting && <p role="status">The report is being written.</p>}
      {failure !== null && <Failure error={failure} onAgain={write} />}
      <p className="quiet">
        The report has the tables and figures of this study, agreement with its chance level, and
        the pictures behind each explanation. Writing it takes seconds, of a large study minutes.
      </p>
    </section>
  );
}
