import { resultUrl } from "../api/client";

/** What comes of a study: its report, and its namings as files. */
export function Results({ studyId }: { studyId: string }) {
  return (
    <section>
      <h2>Results</h2>
      <p className="choices">
        <a href={`${resultUrl(studyId, "report/index.html")}?fresh=1`}>Write the report</a>
        <a href={resultUrl(studyId, "report/index.html")}>the last one written</a>
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
      <p className="quiet">
        The report has the tables and figures of this study, agreement with its chance level, and
        the pictures behind each explanation. Writing it takes seconds, of a large study minutes.
      </p>
    </section>
  );
}
