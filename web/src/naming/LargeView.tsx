import { useEffect, useMemo } from "react";
import type { Naming } from "../api/openapi";
import { Dialog } from "../Dialog";
import { focusGrid } from "./focus";
import { Slider } from "./GridBar";
import { stepEnlarged } from "./hands";
import { Picture } from "./Picture";
import { idsShown, useNaming } from "./store";
import { nameOf } from "./words";

/** One activation large, the photograph beside it, and the other maps of the same image. */
export function LargeView() {
  const id = useNaming((state) => state.enlarged);
  const activations = useNaming((state) => state.activations);
  const naming = useNaming((state) => state.view?.naming);
  const ids = useNaming(idsShown);
  const activation = id === null ? undefined : activations.get(id);
  const siblings = useMemo(
    () =>
      [...activations.values()]
        .filter((one) => one.imageId === activation?.imageId)
        .sort((one, other) => other.share - one.share),
    [activations, activation],
  );
  const isOpen = activation !== undefined;
  useEffect(() => {
    if (!isOpen) return;
    window.addEventListener("keydown", onKeyDown);
    return () => window.removeEventListener("keydown", onKeyDown);
  }, [isOpen]);
  if (!activation || !naming) return null;
  const at = ids.indexOf(activation.id);

  return (
    <Dialog title={whereabouts(naming, activation.id)} onClose={close}>
      <div className="large-view">
        <Picture id={activation.id} alt="What the network saw, with where it looked" />
        <Picture id={activation.id} plain alt="What the network saw" />
      </div>
      <div className="large-view-bar">
        <button type="button" aria-disabled={at <= 0} onClick={() => stepEnlarged(-1)}>
          ‹ Before
        </button>
        <button
          type="button"
          aria-disabled={at < 0 || at >= ids.length - 1}
          onClick={() => stepEnlarged(1)}
        >
          After ›
        </button>
        {at >= 0 && (
          <span className="quiet" role="status">
            {at + 1} of {ids.length}, {Math.round(100 * activation.share)} % of the evidence
          </span>
        )}
        <span className="gap" />
        <Slider name="map" field="opacity" min={0} max={100} step={1} />
      </div>
      {siblings.length > 1 && (
        <>
          <h2>All maps of this image</h2>
          <ul className="siblings">
            {siblings.map((one) => (
              <li key={one.id}>
                <button
                  type="button"
                  className="sibling"
                  aria-pressed={one.id === activation.id}
                  onClick={() => useNaming.setState({ enlarged: one.id })}
                >
                  <Picture id={one.id} />
                  <bdi>{whereabouts(naming, one.id)}</bdi>
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

function close(): void {
  useNaming.setState({ enlarged: null });
  focusGrid();
}

function onKeyDown(event: KeyboardEvent): void {
  const inField = event.target instanceof Element && event.target.closest("input");
  if (inField || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "ArrowLeft") stepEnlarged(-1);
  else if (event.key === "ArrowRight") stepEnlarged(1);
}

function whereabouts(naming: Naming, id: string): string {
  const concept = naming.concepts.find(({ activation_ids }) => activation_ids.includes(id));
  if (concept) return nameOf(concept);
  const discarded = naming.discards.some(({ activation_ids }) => activation_ids.includes(id));
  return discarded ? "Discarded" : "In the pool";
}
