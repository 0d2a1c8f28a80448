import {
  discardSelection,
  makeConcept,
  poolSelection,
  sayWhy,
  selected,
  splitShown,
} from "./hands";
import { isReadOnly, useNaming } from "./store";
import { CHOSEN_REASONS, counted, REASON_WORDS } from "./words";

/** What can be done now. It stands below the examples and keeps its height, so that nothing moves. */
export function ActBar() {
  const hasSelection = useNaming((state) => state.selection.ids.size > 0);
  const hasDiscarded = useNaming((state) => state.justDiscarded.length > 0);
  const readOnly = useNaming(isReadOnly);
  return (
    <div className="act-bar">
      {readOnly ? (
        <LookOnly />
      ) : hasSelection ? (
        <SelectionActs />
      ) : hasDiscarded ? (
        <WhyDiscarded />
      ) : (
        <Hint />
      )}
    </div>
  );
}

function LookOnly() {
  return <span className="quiet">Look around: nothing can be changed.</span>;
}

function Hint() {
  return (
    <span className="quiet">
      <span className="by-key">
        <kbd>?</kbd> shows every key.
      </span>{" "}
      Select examples that show the same thing: click, Shift, Ctrl, or draw a rectangle from between
      them.
    </span>
  );
}

function SelectionActs() {
  const chosen = useNaming((state) => state.selection.ids.size);
  const place = useNaming((state) => state.place);
  return (
    <>
      <span role="status">{chosen} selected</span>
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
    </>
  );
}

/** Asks why, once something is discarded; going on is an answer, too. */
function WhyDiscarded() {
  const count = useNaming((state) => state.justDiscarded.length);
  return (
    <>
      {counted(count, "example")} discarded. Why?
      <Reasons onChoose={sayWhy} keys />
    </>
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
