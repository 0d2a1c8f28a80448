import { ConceptRow } from "./ConceptRow";
import { DropTarget } from "./DropTarget";
import { dropOn, makeConcept, selected } from "./hands";
import { discardedIds } from "./naming";
import { type Dragged, show, useNaming } from "./store";

const tilesOnly = (dragged: Dragged) => "tiles" in dragged;

/** Where activations can go: the pool, a new concept, each concept, the discard pile. */
export function Shelf() {
  const view = useNaming((state) => state.view);
  const place = useNaming((state) => state.place);
  if (!view) return <aside className="shelf" />;
  const { naming } = view;
  const shown = (here: boolean) => (here ? "shelf-row shown" : "shelf-row");

  return (
    <aside className="shelf" aria-label="Concepts">
      <DropTarget className={shown(place === "pool")} accepts={tilesOnly} onTake={dropOn.pool}>
        <button type="button" className="shelf-face" onClick={() => show("pool")}>
          <span className="shelf-number">0</span>
          <span className="shelf-name">Pool</span>
          <span className="shelf-count">{naming.pool.length}</span>
        </button>
      </DropTarget>

      <div className="shelf-concepts">
        {naming.concepts.map((concept, index) => (
          <ConceptRow key={concept.concept_id} concept={concept} number={index + 1} />
        ))}
        {naming.concepts.length === 0 && (
          <p className="empty">
            No concepts yet. Select examples whose maps point at the same thing and drag them onto
            “New concept”, or press <kbd>N</kbd>.
          </p>
        )}
        <DropTarget
          className="shelf-row new-concept"
          accepts={tilesOnly}
          onTake={dropOn.newConcept}
        >
          <button type="button" className="shelf-face" onClick={() => makeConcept(selected())}>
            <span className="shelf-number">+</span>
            <span className="shelf-name">New concept</span>
            <kbd>N</kbd>
          </button>
        </DropTarget>
      </div>

      <DropTarget
        className={shown(place === "discarded")}
        accepts={tilesOnly}
        onTake={dropOn.discarded}
      >
        <button type="button" className="shelf-face" onClick={() => show("discarded")}>
          <span className="shelf-number">X</span>
          <span className="shelf-name">Discarded</span>
          <span className="shelf-count">{discardedIds(naming).length}</span>
        </button>
      </DropTarget>
    </aside>
  );
}
