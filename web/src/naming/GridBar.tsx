import {
  discardSelection,
  makeConcept,
  poolSelection,
  sayWhy,
  selected,
  sortBySimilarity,
  splitShown,
} from "./hands";
import { SORT_WORDS, type Sort } from "./order";
import { conceptAt, idsShown, type NamingState, sortBy, useNaming } from "./store";
import { CHOSEN_REASONS, counted, nameOf, REASON_WORDS } from "./words";

/** What the grid shows, what can be done with the selection, and how it is sorted and drawn. */
export function GridBar() {
  const title = useNaming(titleOf);
  const count = useNaming((state) => idsShown(state).length);
  return (
    <div className="grid-bar">
      <h1>
        <bdi>{title}</bdi> <span className="quiet">{count}</span>
      </h1>
      <SelectionActs />
      <WhyDiscarded />
      <span className="gap" />
      <SortChoice />
      <Slider name="size" field="tileSize" min={64} max={256} step={16} />
      <Slider name="map" field="opacity" min={0} max={100} step={1} />
    </div>
  );
}

function titleOf(state: NamingState): string {
  const concept = conceptAt(state);
  if (concept) return nameOf(concept);
  return state.place === "discarded" ? "Discarded" : "Pool";
}

function SelectionActs() {
  const chosen = useNaming((state) => state.selection.ids.size);
  const place = useNaming((state) => state.place);
  if (chosen === 0) return null;
  return (
    <span className="selection-acts">
      {chosen} selected
      {typeof place === "object" ? (
        <button type="button" onClick={() => splitShown()}>
          Split off <kbd>S</kbd>
        </button>
      ) : (
        <button type="button" onClick={() => makeConcept(selected())}>
          New concept <kbd>N</kbd>
        </button>
      )}
      {place !== "pool" && (
        <button type="button" onClick={poolSelection}>
          To the pool <kbd>U</kbd>
        </button>
      )}
      {place === "discarded" ? (
        <Reasons onChoose={discardSelection} />
      ) : (
        <button type="button" onClick={() => discardSelection()}>
          Discard <kbd>X</kbd>
        </button>
      )}
    </span>
  );
}

/** Asks why, once something is discarded; going on is an answer, too. */
function WhyDiscarded() {
  const count = useNaming((state) => state.justDiscarded.length);
  const chosen = useNaming((state) => state.selection.ids.size);
  if (count === 0 || chosen > 0) return null;
  return (
    <span className="selection-acts">
      {counted(count, "example")} discarded. Why?
      <Reasons onChoose={sayWhy} keys />
    </span>
  );
}

function Reasons({
  onChoose,
  keys = false,
}: {
  onChoose: (reason: (typeof CHOSEN_REASONS)[number]) => void;
  keys?: boolean;
}) {
  return CHOSEN_REASONS.map((reason, at) => (
    <button key={reason} type="button" onClick={() => onChoose(reason)}>
      {REASON_WORDS[reason]} {keys && <kbd>{at + 1}</kbd>}
    </button>
  ));
}

function SortChoice() {
  const sort = useNaming((state) => state.sort);
  const hasSuggestions = useNaming(
    ({ study }) => (study?.settings as { suggestions?: boolean } | undefined)?.suggestions === true,
  );
  const sorts: Sort[] = [
    "given",
    "image",
    ...(hasSuggestions ? ["similarity" as const] : []),
    "share",
  ];
  function onChange(chosen: Sort): void {
    if (chosen === "similarity") void sortBySimilarity();
    else sortBy(chosen);
  }
  return (
    <>
      <label>
        sort
        <select value={sort} onChange={(event) => onChange(event.target.value as Sort)}>
          {sorts.map((one) => (
            <option key={one} value={one}>
              {SORT_WORDS[one]}
            </option>
          ))}
        </select>
      </label>
      {sort === "similarity" && (
        <button type="button" onClick={() => void sortBySimilarity()}>
          Sort again
        </button>
      )}
    </>
  );
}

interface SliderProps {
  name: string;
  field: "tileSize" | "opacity";
  min: number;
  max: number;
  step: number;
}

export function Slider({ name, field, ...range }: SliderProps) {
  const value = useNaming((state) => state[field]);
  return (
    <label>
      {name}
      <input
        type="range"
        {...range}
        value={value}
        onChange={(event) => useNaming.setState({ [field]: event.target.valueAsNumber })}
      />
    </label>
  );
}
