import { REDO, UNDO } from "./commands";
import { discardedIds, namedCount } from "./naming";
import { act, openCategory, retryNow, useNaming } from "./store";

/** Where one is, how far one has come, and whether it is saved. */
export function TopBar() {
  const study = useNaming((state) => state.study);
  const view = useNaming((state) => state.view);
  const total = useNaming((state) => state.activations.size);
  const named = view ? namedCount(view.naming) : 0;
  const discarded = view ? discardedIds(view.naming).length : 0;

  return (
    <header className="top-bar">
      <span className="brand">Onoma</span>
      <span className="study-name">{study?.name}</span>
      <CategoryBar />
      <span className="progress-words">
        {named} of {total} named{discarded > 0 && `, ${discarded} discarded`}
      </span>
      <progress
        className="progress"
        value={named + discarded}
        max={total || 1}
        aria-label="Named"
      />
      <span className="gap" />
      <SavingState />
      <button type="button" disabled={!view?.naming.undo_count} onClick={() => act(UNDO)}>
        Undo
      </button>
      <button type="button" disabled={!view?.naming.redo_count} onClick={() => act(REDO)}>
        Redo
      </button>
      <button
        type="button"
        aria-label="Help: all keys"
        onClick={() => useNaming.setState({ helpOpen: true })}
      >
        ?
      </button>
    </header>
  );
}

function CategoryBar() {
  const categories = useNaming((state) => state.study?.categories) ?? [];
  const category = useNaming((state) => state.category);
  const at = categories.indexOf(category);
  const step = (by: number) => {
    const next = categories[at + by];
    if (next !== undefined) void openCategory(next);
  };
  return (
    <nav className="category-bar" aria-label="Category">
      <button
        type="button"
        aria-label="Previous category"
        disabled={at <= 0}
        onClick={() => step(-1)}
      >
        ‹
      </button>
      <select
        aria-label="Category"
        value={category}
        onChange={(event) => void openCategory(event.target.value)}
      >
        {categories.map((one) => (
          <option key={one}>{one}</option>
        ))}
      </select>
      <span className="quiet">
        {at + 1}/{categories.length}
      </span>
      <button
        type="button"
        aria-label="Next category"
        disabled={at >= categories.length - 1}
        onClick={() => step(1)}
      >
        ›
      </button>
    </nav>
  );
}

function SavingState() {
  const saving = useNaming((state) => state.saving);
  const waiting = useNaming((state) => state.waiting);
  const changes = waiting === 1 ? "1 change" : `${waiting} changes`;
  return (
    <span className={`saving ${saving.kind}`} role="status">
      {saving.kind === "saved" && "saved"}
      {saving.kind === "saving" && "saving"}
      {saving.kind === "signed_out" && `${changes} waiting: ${saving.message}`}
      {saving.kind === "offline" && (
        <>
          {changes} waiting: {saving.message}{" "}
          <button type="button" onClick={retryNow}>
            Try now
          </button>
        </>
      )}
    </span>
  );
}
