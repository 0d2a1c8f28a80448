import { useMemo } from "react";
import type { Naming } from "../api/openapi";
import { Dialog } from "../Dialog";
import { Picture } from "./Picture";
import { useNaming } from "./store";

/** One activation large, the photograph beside it, and the other maps of the same image. */
export function LargeView() {
  const id = useNaming((state) => state.enlarged);
  const activations = useNaming((state) => state.activations);
  const naming = useNaming((state) => state.view?.naming);
  const opacity = useNaming((state) => state.opacity);
  const activation = id === null ? undefined : activations.get(id);
  const siblings = useMemo(
    () =>
      [...activations.values()]
        .filter((one) => one.imageId === activation?.imageId)
        .sort((one, other) => other.share - one.share),
    [activations, activation],
  );
  if (!activation || !naming) return null;

  return (
    <Dialog
      title={whereabouts(naming, activation.id)}
      onClose={() => useNaming.setState({ enlarged: null })}
    >
      <div className="large-view">
        <Picture id={activation.id} />
        <Picture id={activation.id} plain />
      </div>
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
      {siblings.length > 1 && (
        <>
          <h2>All maps of this image</h2>
          <ul className="siblings">
            {siblings.map((one) => (
              <li key={one.id}>
                <button
                  type="button"
                  aria-pressed={one.id === activation.id}
                  onClick={() => useNaming.setState({ enlarged: one.id })}
                >
                  <Picture id={one.id} />
                  <span>{whereabouts(naming, one.id)}</span>
                  <span className="quiet">{Math.round(100 * one.share)} %</span>
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
    </Dialog>
  );
}

function whereabouts(naming: Naming, id: string): string {
  const concept = naming.concepts.find(({ activation_ids }) => activation_ids.includes(id));
  if (concept) return concept.name || "unnamed concept";
  const discarded = naming.discards.some(({ activation_ids }) => activation_ids.includes(id));
  return discarded ? "discarded" : "in the pool";
}
