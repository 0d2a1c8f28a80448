import { useEffect, useState } from "react";
import { namingPath } from "./address";
import { messageOf } from "./api/client";
import { acceptInvitation } from "./api/naming";

/** Where a link leads: takes the invitation and goes on to the naming. */
export function InvitationPage({ token }: { token: string }) {
  const [failure, setFailure] = useState<string | null>(null);
  useEffect(() => {
    acceptInvitation(token).then(
      ({ study, annotator }) =>
        location.replace(namingPath(study.study_id, annotator.annotator_id)),
      (error: unknown) => setFailure(messageOf(error)),
    );
  }, [token]);

  if (failure === null) return null;
  return (
    <main className="empty-page">
      <h1>This link does not open</h1>
      <p>{failure}</p>
      <p>Ask the study's owner for a new one.</p>
    </main>
  );
}
