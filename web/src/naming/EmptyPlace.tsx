import { openCategory } from "./opening";
import { loadStands } from "./preferences";
import { isReadOnly, type Place, useNaming } from "./store";

/** Why the grid is empty, and what to do next. */
export function EmptyPlace() {
  const view = useNaming((state) => state.view);
  const place = useNaming((state) => state.place);
  const total = useNaming((state) => state.activations.size);
  const readOnly = useNaming(isReadOnly);
  if (!view) return <p className="empty">Loading the examples.</p>;
  return (
    <div className="empty">
      <p>
        {why(place, total)} {!readOnly && <WayOn place={place} />}
      </p>
      {place === "pool" && <NextCategory />}
    </div>
  );
}

function why(place: Place, total: number): string {
  if (place === "discarded") return "Nothing is discarded.";
  if (place !== "pool") return "This concept is empty.";
  if (total === 0)
    return "The network looked at nothing in particular here: there is nothing to name.";
  return "The pool is empty: every example is named or discarded.";
}

function WayOn({ place }: { place: Place }) {
  if (place === "pool") return null;
  if (place === "discarded") {
    return (
      <>
        Drag examples that make no sense here, or press <kbd>X</kbd>.
      </>
    );
  }
  return (
    <>
      Go to the pool (<kbd>0</kbd>), select examples, and drag them onto it or choose it with{" "}
      <kbd>/</kbd>.
    </>
  );
}

function NextCategory() {
  const study = useNaming((state) => state.study);
  const annotator = useNaming((state) => state.annotator);
  const category = useNaming((state) => state.category);
  const { categories: seen } = loadStands(study?.study_id ?? "", annotator?.annotator_id ?? "");
  const next = nextCategory(study?.categories ?? [], category, new Set(Object.keys(seen)));
  if (next === null)
    return <p>You have been through all categories. You can look back at any time.</p>;
  return (
    <button type="button" onClick={() => void openCategory(next)}>
      Go on with {next}
    </button>
  );
}

/** The category after this one; after the last, the first in which nothing was looked at. */
export function nextCategory(
  categories: readonly string[],
  category: string,
  seen: ReadonlySet<string>,
): string | null {
  const after = categories[categories.indexOf(category) + 1];
  const unseen = categories.find((one) => one !== category && !seen.has(one));
  return after ?? unseen ?? null;
}
