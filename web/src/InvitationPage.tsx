import { useEffect, useRef, useState } from "react";
import { messageOf, resultUrl } from "./api/client";
import { acceptInvitation } from "./api/naming";
import { useNaming } from "./naming/store";
import { sentence } from "./naming/words";

interface InvitationPageProps {
  token: string;
  onAccepted: (studyId: string, annotatorId: string) => void;
}

/** Where a link leads: takes the invitation and goes on to the naming, a viewer to the results. */
export function InvitationPage({ token, onAccepted }: InvitationPageProps) {
  const [failure, setFailure] = useState<string | null>(null);
  const [viewed, setViewed] = useState<string | null>(null);
  const accepted = useRef(onAccepted);
  accepted.current = onAccepted;
  useEffect(() => {
    acceptInvitation(token).then(
      (invitation) => {
        const { study, annotator } = invitation;
        if (annotator.role === "ROLE_VIEWER") {
          setViewed(study.name);
          location.replace(resultUrl(study.study_id, "report/index.html"));
          return;
        }
        useNaming.setState(invitation);
        accepted.current(study.study_id, annotator.annotator_id);
      },
      (error: unknown) => setFailure(messageOf(error)),
    );
  }, [token]);

  if (viewed !== null)
    return (
      <main className="empty-page">
        <h1>
          Results of <bdi>{viewed}</bdi>
        </h1>
        <p role="status">The report is being written: seconds, of a large study minutes.</p>
      </main>
    );
  if (failure === null) return null;
  return (
    <main className="empty-page">
      <h1>This link does not open</h1>
      <p>{sentence(failure)}</p>
    </main>
  );
}
