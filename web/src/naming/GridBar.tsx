import { discardSelection, makeConcept, poolSelection, selected } from "./hands";
import { idsAt, useNaming } from "./store";

/** What the grid shows, what can be done with the selection, and how large and strong it is drawn. */
export function GridBar() {
  const view = useNaming((state) => state.view);
  const place = useNaming((state) => state.place);
  const chosen = useNaming((state) => state.selection.ids.size);
  const tileSize = useNaming((state) => state.tileSize);
  const opacity = useNaming((state) => state.opacity);
  const concept =
    typeof place === "object"
      ? view?.naming.concepts.find(({ concept_id }) => concept_id === place.concept)
      : undefined;
  const title = concept ? concept.name || "unnamed" : place === "discarded" ? "Discarded" : "Pool";

  return (
    <div className="grid-bar">
      <h1>
        {title} <span className="quiet">{view ? idsAt(view, place).length : ""}</span>
      </h1>
      {chosen > 0 && (
        <span className="selection-acts">
          {chosen} selected
          <button type="button" onClick={() => makeConcept(selected())}>
            New concept <kbd>N</kbd>
          </button>
          {place !== "pool" && (
            <button type="button" onClick={poolSelection}>
              To the pool <kbd>U</kbd>
            </button>
          )}
          {place !== "discarded" && (
            <button type="button" onClick={discardSelection}>
              Discard <kbd>X</kbd>
            </button>
          )}
        </span>
      )}
      <span className="gap" />
      <label>
        size
        <input
          type="range"
          min={64}
          max={256}
          step={16}
          value={tileSize}
          onChange={(event) => useNaming.setState({ tileSize: event.target.valueAsNumber })}
        />
      </label>
      <label>
        map
        <input
          type="range"
          min={0}
          max={100}
          value={opacity}
          onChange={(event) => useNaming.setState({ opacity: event.target.valueAsNumber })}
        />
      </label>
    </div>
  );
}
