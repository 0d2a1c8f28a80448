import { memo, type RefObject, useEffect, useRef, useState } from "react";
import type { Concept } from "../api/openapi";
import { DropTarget } from "./DropTarget";
import { askName, dropOn, takeName } from "./hands";
import { NameField } from "./NameField";
import { Picture } from "./Picture";
import { type Dragged, show, useNaming } from "./store";
import { counted, nameOf } from "./words";

const COVERS = 5;
const DEFAULT_MIN_IMAGES = 3;

interface ConceptRowProps {
  concept: Concept;
  number: number;
}

/** One concept on the shelf: number, name, count, its first examples. */
export const ConceptRow = memo(function ConceptRow({ concept, number }: ConceptRowProps) {
  const { concept_id, name, activation_ids } = concept;
  const row = useRef<HTMLDivElement>(null);
  const inSight = useInSight(row);
  const shown = useNaming(({ place }) => typeof place === "object" && place.concept === concept_id);
  const renaming = useNaming((state) => state.renaming === concept_id);
  useEffect(() => {
    if (!renaming) return;
    // The row is taller than its field was.
    return () => row.current?.scrollIntoView({ block: "nearest" });
  }, [renaming]);
  const accepts = (dragged: Dragged) => !("concept" in dragged && dragged.concept === concept_id);
  const openMenu = (x: number, y: number) =>
    useNaming.setState({ menu: { concept: concept_id, x, y } });

  return (
    <DropTarget
      ref={row}
      className={shown ? "shelf-row concept shown" : "shelf-row concept"}
      data-concept={concept_id}
      accepts={accepts}
      onTake={(dragged) => dropOn.concept(concept_id, dragged)}
      draggable={!renaming}
      onDragStart={(event) => {
        event.dataTransfer.effectAllowed = "move";
        event.dataTransfer.setData("text/plain", name);
        useNaming.setState({ dragged: { concept: concept_id } });
      }}
      onDragEnd={() => useNaming.setState({ dragged: null })}
      onContextMenu={(event) => {
        event.preventDefault();
        const { left, bottom } = event.currentTarget.getBoundingClientRect();
        // The menu key has no place of its own.
        const byKey = event.clientX === 0 && event.clientY === 0;
        openMenu(byKey ? left : event.clientX, byKey ? bottom : event.clientY);
      }}
    >
      {renaming ? (
        <div className="shelf-face">
          <span className="shelf-number">{number <= 9 ? number : ""}</span>
          <NameField name={name} onDone={(chosen) => takeName(concept_id, chosen)} />
          <span className="shelf-count">{activation_ids.length}</span>
          <Covers ids={activation_ids} inSight={inSight} />
        </div>
      ) : (
        <button
          type="button"
          className="shelf-face"
          aria-pressed={shown}
          onClick={() => show({ concept: concept_id })}
          onDoubleClick={() => askName(concept_id)}
        >
          <span className="shelf-number">{number <= 9 ? number : ""}</span>
          <bdi className={name ? "shelf-name" : "shelf-name unnamed"} title={nameOf(concept)}>
            {nameOf(concept)}
          </bdi>
          <span className="shelf-count">{activation_ids.length}</span>
          <Covers ids={activation_ids} inSight={inSight} />
          <TooFew ids={activation_ids} />
        </button>
      )}
      <button
        type="button"
        className="more"
        aria-label={`More about ${nameOf(concept)}`}
        aria-haspopup="menu"
        onClick={(event) => {
          const { right, bottom } = event.currentTarget.getBoundingClientRect();
          openMenu(right, bottom);
        }}
      >
        ⋯
      </button>
    </DropTarget>
  );
});

interface CoversProps {
  ids: readonly string[];
  /** Out of sight they keep their room, so that nothing moves when they come. */
  inSight?: boolean;
}

export function Covers({ ids, inSight = true }: CoversProps) {
  if (ids.length === 0) return null;
  return (
    <span className="covers">
      {inSight && ids.slice(0, COVERS).map((id) => <Picture key={id} id={id} />)}
    </span>
  );
}

/** Says where the statistics would leave a concept out. */
function TooFew({ ids }: { ids: readonly string[] }) {
  const activations = useNaming((state) => state.activations);
  const least =
    useNaming((state) => state.study?.settings?.min_concept_images) ?? DEFAULT_MIN_IMAGES;
  if (ids.length >= 10 * least) return null;
  const images = new Set(ids.map((id) => activations.get(id)?.imageId)).size;
  if (images >= least) return null;
  return (
    <span
      className="hint"
      title={`${counted(images, "image")}; the statistics leave out concepts with fewer than ${least}`}
    >
      fewer than {counted(least, "image")}
    </span>
  );
}

/** Whether an element is near the screen: a thousand concepts would have five thousand covers. */
function useInSight(element: RefObject<HTMLElement | null>): boolean {
  const [inSight, setInSight] = useState(false);
  useEffect(() => {
    if (!element.current) return;
    const observer = new IntersectionObserver(
      ([entry]) => setInSight(entry?.isIntersecting ?? false),
      { rootMargin: "200px" },
    );
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return inSight;
}
