import { type KeyboardEvent, useState } from "react";
import { focusGrid, isComposing } from "./focus";
import { makeConcept, selected, takeConcept } from "./hands";
import { matches } from "./matching";
import { cut } from "./NameField";
import { isReadOnly, useNaming } from "./store";
import { counted, nameOf } from "./words";

const SHOWN = 8;

/** Type-ahead on the concepts' names: Enter puts the selection there, or makes the concept. */
export function Finder() {
  const concepts = useNaming((state) => state.view?.naming.concepts) ?? [];
  const readOnly = useNaming(isReadOnly);
  const chosen = useNaming((state) => (readOnly ? 0 : state.selection.ids.size));
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const name = typed.trim();
  const found = matches(concepts, typed).slice(0, SHOWN);
  const isNew = !readOnly && name !== "" && found[0]?.name !== name;
  const choices = [
    ...found.map((concept) => ({
      key: concept.concept_id,
      words: nameOf(concept),
      count: String(concept.activation_ids.length),
      run: () => takeConcept(concept.concept_id),
    })),
    ...(isNew
      ? [{ key: "new", words: `New: ${name}`, count: "", run: () => makeConcept(selected(), name) }]
      : []),
  ];

  function close(): void {
    useNaming.setState({ finderOpen: false });
    focusGrid();
  }

  function take(index: number): void {
    const choice = choices[index];
    if (!choice) return;
    close();
    choice.run();
  }

  function onKeyDown(event: KeyboardEvent): void {
    if (isComposing(event)) return;
    const last = choices.length - 1;
    if (event.key === "Enter") take(Math.min(at, last));
    else if (event.key === "Escape") close();
    else if (event.key === "ArrowDown") setAt(Math.min(last, at + 1));
    else if (event.key === "ArrowUp") setAt(Math.max(0, at - 1));
    else return;
    event.preventDefault();
  }

  return (
    <div className="finder">
      <input
        role="combobox"
        aria-label={readOnly ? "Find a concept" : "Find a concept, or name a new one"}
        aria-expanded={choices.length > 0}
        aria-controls="finder-list"
        aria-activedescendant={
          choices.length > 0 ? `finder-${Math.min(at, choices.length - 1)}` : undefined
        }
        placeholder={
          chosen > 0 ? `where ${counted(chosen, "example")} should go` : "name of a concept"
        }
        autoComplete="off"
        dir="auto"
        // The field appears because the hand asked for it.
        // biome-ignore lint/a11y/noAutofocus: see above
        autoFocus
        value={typed}
        onChange={(event) => {
          setTyped(cut(event.target.value));
          setAt(0);
        }}
        onKeyDown={onKeyDown}
        onBlur={() => useNaming.setState({ finderOpen: false })}
      />
      <div id="finder-list" role="listbox" aria-label="Concepts">
        {choices.map(({ key, words, count }, index) => (
          // The field keeps the focus, and its keys choose.
          // biome-ignore lint/a11y/useFocusableInteractive: see above
          // biome-ignore lint/a11y/useKeyWithClickEvents: see above
          <div
            key={key}
            id={`finder-${index}`}
            role="option"
            className="finder-choice"
            aria-selected={index === Math.min(at, choices.length - 1)}
            onPointerDown={(event) => event.preventDefault()}
            onClick={() => take(index)}
          >
            <bdi>{words}</bdi>
            <span className="quiet">{count}</span>
          </div>
        ))}
      </div>
    </div>
  );
}
