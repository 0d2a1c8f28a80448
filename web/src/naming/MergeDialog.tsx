import { type FormEvent, useState } from "react";
import type { Concept } from "../api/openapi";
import { Dialog } from "../Dialog";
import { Covers } from "./ConceptRow";
import { focusGrid } from "./focus";
import { conceptOf, mergeConcepts } from "./hands";
import { matches } from "./matching";
import { useNaming } from "./store";
import { counted, nameOf, quoted } from "./words";

const MANY = 8;

/** Asks with which concept another is merged, and whose name stays. */
export function MergeDialog() {
  const merging = useNaming((state) => state.merging);
  const concept = merging === null ? undefined : conceptOf(merging);
  if (!concept) return null;
  return <MergeForm key={concept.concept_id} concept={concept} />;
}

function MergeForm({ concept }: { concept: Concept }) {
  const concepts = useNaming((state) => state.view?.naming.concepts) ?? [];
  const others = concepts.filter((one) => one !== concept);
  const [typed, setTyped] = useState("");
  const found = matches(others, typed);
  const [chosen, setChosen] = useState<string | null>(null);
  const other = found.find(({ concept_id }) => concept_id === chosen) ?? found[0];
  const [keepsOwnName, setKeepsOwnName] = useState(false);

  function close(): void {
    useNaming.setState({ merging: null });
    focusGrid();
  }

  function merge(event: FormEvent): void {
    event.preventDefault();
    if (!other) return;
    close();
    if (keepsOwnName) mergeConcepts(other.concept_id, concept.concept_id);
    else mergeConcepts(concept.concept_id, other.concept_id);
  }

  if (others.length === 0) {
    return (
      <Dialog title={`Merge ${quoted(nameOf(concept))}`} onClose={close}>
        <p>There is no other concept to merge it with.</p>
      </Dialog>
    );
  }
  return (
    <Dialog title={`Merge ${quoted(nameOf(concept))} with`} onClose={close}>
      <form className="merge" onSubmit={merge}>
        {others.length > MANY && (
          <label>
            Find{" "}
            <input type="search" value={typed} onChange={(event) => setTyped(event.target.value)} />
          </label>
        )}
        <fieldset className="merge-others">
          <legend className="unseen">Merge with</legend>
          {found.slice(0, 50).map((one) => (
            <label key={one.concept_id}>
              <input
                type="radio"
                name="other"
                data-first={one === other || undefined}
                checked={one === other}
                onChange={() => setChosen(one.concept_id)}
              />
              <Sides concept={one} />
            </label>
          ))}
          {found.length === 0 && <p className="quiet">No concept is called that.</p>}
        </fieldset>
        {other && (
          <fieldset>
            <legend>The name that stays</legend>
            <label>
              <input
                type="radio"
                name="survivor"
                checked={!keepsOwnName}
                onChange={() => setKeepsOwnName(false)}
              />
              <bdi>{nameOf(other)}</bdi>
            </label>
            <label>
              <input
                type="radio"
                name="survivor"
                checked={keepsOwnName}
                onChange={() => setKeepsOwnName(true)}
              />
              <bdi>{nameOf(concept)}</bdi>
            </label>
          </fieldset>
        )}
        <p className="quiet">
          {other &&
            `Together ${counted(concept.activation_ids.length + other.activation_ids.length, "example")}. One undo takes them apart again.`}
        </p>
        <button type="submit" className="main-act" disabled={!other}>
          Merge
        </button>
      </form>
    </Dialog>
  );
}

function Sides({ concept }: { concept: Concept }) {
  return (
    <span className="merge-side">
      <bdi>{nameOf(concept)}</bdi>
      <span className="quiet">{concept.activation_ids.length}</span>
      <Covers ids={concept.activation_ids} />
    </span>
  );
}
