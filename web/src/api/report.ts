/** The report of a study: a page that the server writes when it is asked for. */
import { answered, api, askWithin, resultUrl } from "./client";

const PAGE = "index.html";
const LONGEST_WRITING_MS = 620_000;

export function reportUrl(studyId: string): string {
  return resultUrl(studyId, `report/${PAGE}`);
}

/**
 * Has the report written, so that what stands in its way is said here and not as the browser shows a refusal.
 *
 * @param isFresh - anew, with what was named since; otherwise the last one will do.
 */
export async function waitForReport(study_id: string, isFresh = false): Promise<void> {
  const params = { path: { study_id, file: PAGE } };
  // A word to one file of many, which the gateway's document says of all in prose.
  const querySerializer = () => (isFresh ? "fresh=1" : "");
  const page = await answered(
    api.GET("/api/studies/{study_id}/report/{file}", {
      params,
      querySerializer,
      parseAs: "stream",
      fetch: askWithin(LONGEST_WRITING_MS),
    }),
  );
  await page?.cancel();
}
