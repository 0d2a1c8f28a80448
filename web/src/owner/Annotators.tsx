import { type FormEvent, useState } from "react";
import { invitationLink } from "../address";
import type { Annotator, Role, Study } from "../api/openapi";
import { Failure } from "../Failure";
import { invite, type Link, renew, revoke } from "./studies";
import { TableScroll } from "./TableScroll";
import { LINK_WORDS, percentOf } from "./words";

interface AnnotatorsProps {
  study: Study;
  annotators: Annotator[];
  onChanged: () => void;
}

/** Who names, how far they are, their links, and a form that makes a link for one more. */
export function Annotators({ study, annotators, onChanged }: AnnotatorsProps) {
  const [made, setMade] = useState<MadeLinkProps | null>(null);
  const [refusal, setRefusal] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const { study_id } = study;
  const isClosed = study.state === "STUDY_STATE_CLOSED";

  async function doing(work: () => Promise<Link | undefined>, isRenewed = false): Promise<boolean> {
    // Pressed twice, a button would make two links, the first of them worthless.
    if (isBusy) return false;
    setBusy(true);
    try {
      const made = await work();
      setMade(
        made
          ? {
              name: made.annotator.display_name,
              link: invitationLink(location.origin, made.token),
              isRenewed,
            }
          : null,
      );
      setRefusal(null);
      onChanged();
      return true;
    } catch (error) {
      setRefusal(error);
      return false;
    } finally {
      setBusy(false);
    }
  }

  async function onInvite(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const fields = new FormData(form);
    const name = String(fields.get("name")).trim();
    const role = String(fields.get("role")) as Role;
    if (await doing(() => invite(study_id, name, role))) form.reset();
  }

  return (
    <section>
      <h2>Annotators</h2>
      {annotators.length === 0 ? (
        <p className="empty">
          {isClosed
            ? "Nobody was invited to name this study."
            : "Nobody names this study yet. Invite someone and send them the link."}
        </p>
      ) : (
        <TableScroll>
          <table>
            <thead>
              <tr>
                <th>Annotator</th>
                <th className="number">Named</th>
                <th className="number">Discarded</th>
                <th className="number">In the pool</th>
                <th>Progress</th>
                <th className="number">Link</th>
              </tr>
            </thead>
            <tbody>
              {annotators.map((annotator) => (
                <Row
                  key={annotator.annotator_id}
                  annotator={annotator}
                  total={study.activation_count}
                  isBusy={isBusy}
                  onRevoke={() => void doing(() => revoke(study_id, annotator.annotator_id))}
                  onRenew={() => void doing(() => renew(study_id, annotator.annotator_id), true)}
                />
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
      <form className="invite" onSubmit={onInvite}>
        <label>
          Invite{" "}
          <input
            name="name"
            required
            maxLength={200}
            dir="auto"
            placeholder="name of the annotator"
          />
        </label>
        <label>
          to{" "}
          <select name="role">
            {!isClosed && <option value="ROLE_ANNOTATOR">name the maps</option>}
            <option value="ROLE_VIEWER">look at the results only</option>
          </select>
        </label>
        <button type="submit" aria-disabled={isBusy}>
          Make a link
        </button>
      </form>
      {refusal !== null && <Failure error={refusal} />}
      {made && <MadeLink key={made.link} {...made} />}
    </section>
  );
}

interface RowProps {
  annotator: Annotator;
  total: number;
  /** Whether a link is being made or revoked; another then waits. */
  isBusy: boolean;
  onRevoke: () => void;
  onRenew: () => void;
}

function Row({ annotator, total, isBusy, onRevoke, onRenew }: RowProps) {
  const { display_name, named_count, discarded_count, role, link_state } = annotator;
  const done = named_count + discarded_count;
  const isViewer = role === "ROLE_VIEWER";
  const isGood = link_state === "LINK_STATE_GOOD";
  return (
    <tr>
      <td>
        <bdi>{display_name}</bdi> {isViewer && <span className="quiet">looks only</span>}
      </td>
      <td className="number">{!isViewer && named_count}</td>
      <td className="number">{!isViewer && discarded_count}</td>
      <td className="number">{!isViewer && total - done}</td>
      <td>
        {!isViewer && (
          <>
            <progress
              className="progress"
              aria-label={`Progress of ${display_name}`}
              value={done}
              max={total || 1}
            />{" "}
            <span className="quiet">{percentOf(done, total)}</span>
          </>
        )}
      </td>
      <td className="link-acts">
        <span className="quiet">{LINK_WORDS[link_state]}</span>
        {isGood && (
          <button
            type="button"
            aria-label={`Revoke the link of ${display_name}`}
            aria-disabled={isBusy}
            onClick={onRevoke}
          >
            Revoke
          </button>
        )}
        <button
          type="button"
          aria-label={`New link for ${display_name}`}
          aria-disabled={isBusy}
          onClick={onRenew}
        >
          New link
        </button>
      </td>
    </tr>
  );
}

interface MadeLinkProps {
  name: string;
  link: string;
  /** Whether it takes the place of one that was sent before. */
  isRenewed: boolean;
}

function MadeLink({ name, link, isRenewed }: MadeLinkProps) {
  const [words, setWords] = useState("Copy");
  function copy() {
    // Without https or a permission there is no clipboard; the link can be marked by hand.
    Promise.resolve(navigator.clipboard?.writeText(link) ?? Promise.reject()).then(
      () => setWords("Copied"),
      () => setWords("Mark it and copy it by hand"),
    );
  }
  return (
    <p className="band" role="status">
      <span>
        Link for <bdi>{name}</bdi>, shown once:
      </span>
      <code className="link">{link}</code>
      <button type="button" onClick={copy}>
        {words}
      </button>
      {isRenewed && <span>The earlier link no longer works.</span>}
    </p>
  );
}
