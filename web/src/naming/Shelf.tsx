import type { Discard } from "../api/openapi";
import { ConceptMenu } from "./ConceptMenu";
import { ConceptRow } from "./ConceptRow";
import { DropTarget } from "./DropTarget";
import { Finder } from "./Finder";
import { dropOn, makeConcept, selected } from "./hands";
import { discardedIds } from "./naming";
import { type Dragged, isReadOnly, show, useNaming } from "./store";
import { CHOSEN_REASONS, REASON_WORDS } from "./words";

const tilesOnly = (dragged: Dragged) => "tiles" in dragged;
const rowClass = (shown: boolean, more = "") => `shelf-row ${more} ${shown ? "shown" : ""}`.trim();

/** Where activations can go: the pool, a new concept, each concept, the discard pile. */
export function Shelf() {
  const naming = useNaming((state) => state.view?.naming);
  const place = useNaming((state) => state.place);
  const finderOpen = useNaming((state) => state.finderOpen);
  const readOnly = useNaming(isReadOnly);
  if (!naming) return <aside className="shelf" aria-label="Concepts" />;

  return (
    <aside className="shelf" aria-label="Concepts">
      <DropTarget className={rowClass(place === "pool")} accepts={tilesOnly} onTake={dropOn.pool}>
        <button
          type="button"
          className="shelf-face"
          aria-pressed={place === "pool"}
          onClick={() => show("pool")}
        >
          <span className="shelf-number">0</span>
          <span className="shelf-name">Pool</span>
          <span className="shelf-count">{naming.pool.length}</span>
        </button>
      </DropTarget>

      <div className="shelf-head">
        {finderOpen ? (
          <Finder />
        ) : (
          <>
            {!readOnly && (
              <DropTarget className="new-concept" accepts={tilesOnly} onTake={dropOn.newConcept}>
                <button
                  type="button"
                  className="new-concept-button"
                  onClick={() => makeConcept(selected())}
                >
                  New concept <kbd>N</kbd>
                </button>
              </DropTarget>
            )}
            <button type="button" onClick={() => useNaming.setState({ finderOpen: true })}>
              Find <kbd>/</kbd>
            </button>
          </>
        )}
      </div>

      <div className="shelf-concepts">
        {naming.concepts.map((concept, index) => (
          <ConceptRow key={concept.concept_id} concept={concept} number={index + 1} />
        ))}
        {naming.concepts.length === 0 && readOnly && <p className="empty">No concepts.</p>}
        {naming.concepts.length === 0 && !readOnly && (
          <p className="empty">
            No concepts yet. Select examples whose maps point at the same thing and drag them onto
            “New concept”, or press <kbd>N</kbd>.
          </p>
        )}
      </div>

      <DiscardPile discards={naming.discards} shown={place === "discarded"} />
      <ConceptMenu />
    </aside>
  );
}

/** The pile, and a place for each reason: always there, so that nothing moves under a drag. */
function DiscardPile({ discards, shown }: { discards: Discard[]; shown: boolean }) {
  const counts = new Map(discards.map((one) => [one.reason, one.activation_ids.length]));
  return (
    <div className="discard-pile">
      <DropTarget
        className={rowClass(shown)}
        accepts={tilesOnly}
        onTake={(dragged) => dropOn.discarded(dragged)}
      >
        <button
          type="button"
          className="shelf-face"
          aria-pressed={shown}
          onClick={() => show("discarded")}
        >
          <span className="shelf-number">X</span>
          <span className="shelf-name">Discarded</span>
          <span className="shelf-count">{discardedIds({ discards }).length}</span>
        </button>
      </DropTarget>
      <div className="discard-reasons">
        {CHOSEN_REASONS.map((reason) => (
          <DropTarget
            key={reason}
            accepts={tilesOnly}
            onTake={(dragged) => dropOn.discarded(dragged, reason)}
          >
            {REASON_WORDS[reason]} {counts.get(reason) ?? 0}
          </DropTarget>
        ))}
      </div>
    </div>
  );
}
