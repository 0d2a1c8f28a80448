import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError } from "./api/client";
import { acceptInvitation } from "./api/naming";
import { reportUrl, waitForReport } from "./api/report";
import { Failure } from "./Failure";
import { useNaming } from "./naming/store";

interface InvitationPageProps {
  token: string;
  onAccepted: (studyId: string, annotatorId: string) => void;
}

/** Where a link leads: takes the invitation and goes on to the naming, a viewer to the results. */
export function InvitationPage({ token, onAccepted }: InvitationPageProps) {
  const [failure, setFailure] = useState<unknown>(null);
  const [viewed, setViewed] = useState<string | null>(null);
  const accepted = useRef(onAccepted);
  accepted.current = onAccepted;
  const open = useCallback(() => {
    setFailure(null);
    acceptInvitation(token)
      .then(async (invitation) => {
        const { study, annotator } = invitation;
        if (annotator.role === "ROLE_VIEWER") {
          setViewed(study.name);
          await waitForReport(study.study_id);
          location.replace(reportUrl(study.study_id));
          return;
        }
        useNaming.setState(invitation);
        accepted.current(study.study_id, annotator.annotator_id);
      })
      .catch(setFailure);
  }, [token]);
  useEffect(open, [open]);

  if (viewed !== null)
    return (
      <main className="empty-page">
        <h1>
          Results of <bdi>{viewed}</bdi>
        </h1>
        {failure === null ? (
          <p role="status">The report is being written: seconds, of a large study minutes.</p>
        ) : (
          <Failure error={failure} onAgain={open} />
        )}
      </main>
    );
  if (failure === null)
    return (
      <main className="empty-page">
        <p role="status">Opening.</p>
      </main>
    );
  const isRefused = failure instanceof ApiError && !failure.isPassing;
  return (
    <main className="empty-page">
      <h1>{isRefused ? "This link does not open" : "This link cannot be opened now"}</h1>
      <Failure error={failure} onAgain={open} />
      {isRefused && <p>If it was copied by hand, compare it first: its end is often left out.</p>}
    </main>
  );
}
