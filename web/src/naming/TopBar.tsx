import { useEffect } from "react";
import { keepFocus } from "./focus";
import { redo, undo } from "./hands";
import { discardedIds, namedCount } from "./naming";
import { openCategory, retryNow, stepCategory } from "./opening";
import { isReadOnly, useNaming } from "./store";
import { counted } from "./words";

/** Where one is, how far one has come, and whether it is saved. */
export function TopBar() {
  const study = useNaming((state) => state.study);
  const naming = useNaming((state) => state.view?.naming);
  const readOnly = useNaming(isReadOnly);
  const total = useNaming((state) => state.activations.size);
  const named = naming ? namedCount(naming) : 0;
  const discarded = naming ? discardedIds(naming).length : 0;

  return (
    <header className="top-bar">
      <span className="brand">Onoma</span>
      <bdi className="study-name">{study?.name}</bdi>
      {study && <CategoryBar />}
      {naming && (
        <>
          <span className="progress-words">
            {counted(total, "map")}, {named} named, {discarded} discarded
          </span>
          <progress
            className="progress"
            value={named + discarded}
            max={total || 1}
            aria-label="Named or discarded"
          />
        </>
      )}
      <span className="gap" />
      {naming && (
        <>
          <SavingState />
          <span className="joined">
            <button type="button" disabled={readOnly || !naming.undo_count} onClick={undo}>
              Undo
            </button>
            <button type="button" disabled={readOnly || !naming.redo_count} onClick={redo}>
              Redo
            </button>
          </span>
        </>
      )}
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
  return (
    <nav className="category-bar" aria-label="Category">
      <button
        type="button"
        aria-label="Previous category"
        disabled={at <= 0}
        onClick={() => stepCategory(-1)}
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
      <button
        type="button"
        aria-label="Next category"
        disabled={at >= categories.length - 1}
        onClick={() => stepCategory(1)}
      >
        ›
      </button>
      {categories.length > 0 && (
        <span className="quiet">
          {at + 1} of {categories.length}
        </span>
      )}
    </nav>
  );
}

function TryNow() {
  // It goes when the server answers.
  useEffect(() => keepFocus, []);
  return (
    <button type="button" onClick={retryNow}>
      Try now
    </button>
  );
}

function SavingState() {
  const saving = useNaming((state) => state.saving);
  const waiting = useNaming((state) => state.waiting);
  const changes = `${counted(waiting, "change")} waiting`;
  return (
    <span className={`saving ${saving.kind}`} role="status">
      {saving.kind === "saved" &&
        (saving.elsewhere ? "saved, with changes from elsewhere" : "saved")}
      {saving.kind === "saving" && (waiting > 1 ? `saving, ${changes}` : "saving")}
      {saving.kind === "signed_out" && changes}
      {saving.kind === "offline" && (
        <>
          {saving.message ? `${changes}: ${saving.message}` : `offline, ${changes}`} <TryNow />
        </>
      )}
    </span>
  );
}
