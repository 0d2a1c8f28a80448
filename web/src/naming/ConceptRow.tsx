import type { Concept } from "../api/openapi";
import { deleteConcept, renameConcept } from "./commands";
import { DropTarget } from "./DropTarget";
import { dropOn } from "./hands";
import { NameField } from "./NameField";
import { Picture } from "./Picture";
import { act, type Dragged, show, useNaming } from "./store";

const COVERS = 5;
const DEFAULT_MIN_IMAGES = 3;

/** One concept on the shelf: number, name, count, its first examples. */
export function ConceptRow({ concept, number }: { concept: Concept; number: number }) {
  const { concept_id, name, activation_ids } = concept;
  const shown = useNaming(({ place }) => typeof place === "object" && place.concept === concept_id);
  const renaming = useNaming((state) => state.renaming === concept_id);
  const activations = useNaming((state) => state.activations);
  const least =
    useNaming((state) => state.study?.settings?.min_concept_images) ?? DEFAULT_MIN_IMAGES;
  const images = new Set(activation_ids.map((id) => activations.get(id)?.imageId)).size;
  const accepts = (dragged: Dragged) => !("concept" in dragged && dragged.concept === concept_id);

  return (
    <DropTarget
      className={shown ? "shelf-row concept shown" : "shelf-row concept"}
      accepts={accepts}
      onTake={(dragged) => dropOn.concept(concept_id, dragged)}
      draggable={!renaming}
      onDragStart={(event) => {
        event.dataTransfer.effectAllowed = "move";
        event.dataTransfer.setData("text/plain", name);
        useNaming.setState({ dragged: { concept: concept_id } });
      }}
      onDragEnd={() => useNaming.setState({ dragged: null })}
    >
      {renaming ? (
        <div className="shelf-face">
          <span className="shelf-number">{number}</span>
          <NameField
            name={name}
            onDone={(chosen) => {
              useNaming.setState({ renaming: null });
              if (chosen !== null && chosen !== name) act(renameConcept(concept_id, chosen));
            }}
          />
          <span className="shelf-count">{activation_ids.length}</span>
        </div>
      ) : (
        <button
          type="button"
          className="shelf-face"
          aria-pressed={shown}
          onClick={() => show({ concept: concept_id })}
          onDoubleClick={() => useNaming.setState({ renaming: concept_id })}
        >
          <span className="shelf-number">{number <= 9 ? number : ""}</span>
          <span className={name ? "shelf-name" : "shelf-name unnamed"}>{name || "unnamed"}</span>
          <span className="shelf-count">{activation_ids.length}</span>
          <span className="covers">
            {activation_ids.slice(0, COVERS).map((id) => (
              <Picture key={id} id={id} />
            ))}
          </span>
          {images < least && (
            <span className="hint">
              {images === 1 ? "1 image" : `${images} images`}; the statistics leave out concepts
              with fewer than {least}
            </span>
          )}
        </button>
      )}
      <span className="shelf-acts">
        <button type="button" onClick={() => useNaming.setState({ renaming: concept_id })}>
          Rename
        </button>
        <button type="button" onClick={() => act(deleteConcept(concept_id))}>
          Delete
        </button>
      </span>
    </DropTarget>
  );
}
