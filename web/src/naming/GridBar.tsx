import { COLOUR_WORDS, type Colours } from "../maps/colormap";
import { sortBySimilarity } from "./hands";
import { SORT_WORDS, type Sort } from "./order";
import { idsShown, sortBy, titleOf, useNaming } from "./store";

/** What the grid shows, and how it is sorted and drawn. */
export function GridBar() {
  const title = useNaming(titleOf);
  const count = useNaming((state) => idsShown(state).length);
  return (
    <div className="grid-bar">
      <h1>
        <bdi title={title}>{title}</bdi> <span className="quiet">{count}</span>
      </h1>
      <SortChoice />
      <Slider name="size" field="tileSize" min={64} max={256} step={16} />
      <Slider name="map" field="opacity" min={0} max={100} step={1} />
      <ColourChoice />
    </div>
  );
}

function SortChoice() {
  const sort = useNaming((state) => state.sort);
  const hasSuggestions = useNaming(({ study }) => study?.settings?.suggestions === true);
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

function ColourChoice() {
  const colours = useNaming((state) => state.colours);
  return (
    <select
      aria-label="colours of the maps"
      value={colours}
      onChange={(event) => useNaming.setState({ colours: event.target.value as Colours })}
    >
      {Object.entries(COLOUR_WORDS).map(([one, words]) => (
        <option key={one} value={one}>
          {words}
        </option>
      ))}
    </select>
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
