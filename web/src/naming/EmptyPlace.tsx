import { stepCategory } from "./opening";
import { type Place, useNaming } from "./store";

/** Why the grid is empty, and what to do next. */
export function EmptyPlace() {
  const view = useNaming((state) => state.view);
  const place = useNaming((state) => state.place);
  const total = useNaming((state) => state.activations.size);
  if (!view) return <p className="empty">Loading the examples.</p>;
  return (
    <div className="empty">
      <p>{wordsFor(place, total)}</p>
      {place === "pool" && <NextCategory />}
    </div>
  );
}

function wordsFor(place: Place, total: number) {
  if (place === "discarded") {
    return (
      <>
        Nothing is discarded. Drag examples that make no sense here, or press <kbd>X</kbd>.
      </>
    );
  }
  if (place !== "pool") {
    return "This concept is empty. Drag examples from the pool onto it, or press its number.";
  }
  if (total === 0)
    return "The network looked at nothing in particular here: there is nothing to name.";
  return "The pool is empty: every example is named or discarded.";
}

function NextCategory() {
  const categories = useNaming((state) => state.study?.categories) ?? [];
  const category = useNaming((state) => state.category);
  const next = categories[categories.indexOf(category) + 1];
  if (next === undefined) return <p>This was the last category. You can look back at any time.</p>;
  return (
    <button type="button" onClick={() => stepCategory(1)}>
      Go on with {next}
    </button>
  );
}
