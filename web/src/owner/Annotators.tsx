import { type FormEvent, useState } from "react";
import { invitationLink } from "../address";
import { answered, api, messageOf } from "../api/client";
import type { Annotator, Study } from "../api/openapi";
import { newId } from "../naming/commands";

interface AnnotatorsProps {
  study: Study;
  annotators: Annotator[];
  onInvited: () => void;
}

/** Who names, how far they are, and a form that makes a link for one more. */
export function Annotators({ study, annotators, onInvited }: AnnotatorsProps) {
  const [invited, setInvited] = useState<{ name: string; link: string } | null>(null);
  const [refusal, setRefusal] = useState<string | null>(null);

  async function invite(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const display_name = String(new FormData(form).get("name")).trim();
    try {
      const { token } = await answered(
        api.POST("/api/studies/{study_id}/annotators", {
          params: { path: { study_id: study.study_id } },
          body: { display_name, request_id: newId() },
        }),
      );
      setInvited({ name: display_name, link: invitationLink(location.origin, token) });
      setRefusal(null);
      form.reset();
      onInvited();
    } catch (error) {
      setRefusal(messageOf(error));
    }
  }

  return (
    <section>
      <h2>Annotators</h2>
      {annotators.length === 0 ? (
        <p className="empty">Nobody names this study yet. Invite someone and send them the link.</p>
      ) : (
        <table>
          <thead>
            <tr>
              <th>Annotator</th>
              <th className="number">Named</th>
              <th className="number">Discarded</th>
              <th className="number">In the pool</th>
              <th>Progress</th>
            </tr>
          </thead>
          <tbody>
            {annotators.map(({ annotator_id, display_name, named_count, discarded_count }) => (
              <tr key={annotator_id}>
                <td>{display_name}</td>
                <td className="number">{named_count}</td>
                <td className="number">{discarded_count}</td>
                <td className="number">{study.activation_count - named_count - discarded_count}</td>
                <td>
                  <progress
                    className="progress"
                    aria-label={`Progress of ${display_name}`}
                    value={named_count + discarded_count}
                    max={study.activation_count || 1}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <form className="invite" onSubmit={invite}>
        <label>
          Invite <input name="name" required maxLength={200} placeholder="name of the annotator" />
        </label>
        <button type="submit">Make a link</button>
      </form>
      {refusal && <p className="band">{refusal}</p>}
      {invited && <InvitedLink {...invited} />}
    </section>
  );
}

function InvitedLink({ name, link }: { name: string; link: string }) {
  const [copied, setCopied] = useState(false);
  return (
    <p className="band">
      Link for {name}, shown once: <code className="link">{link}</code>
      <button
        type="button"
        onClick={() => void navigator.clipboard.writeText(link).then(() => setCopied(true))}
      >
        {copied ? "Copied" : "Copy"}
      </button>
    </p>
  );
}
