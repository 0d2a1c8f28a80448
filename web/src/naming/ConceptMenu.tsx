import { type KeyboardEvent, useEffect, useRef } from "react";
import { focusGrid } from "./focus";
import { askName, askWhatToMerge, conceptOf, removeConcept, splitShown } from "./hands";
import { isReadOnly, show, useNaming } from "./store";
import { nameOf } from "./words";

interface Item {
  words: string;
  shown: string;
  run: (conceptId: string) => void;
}

const LOOKING: Item[] = [{ words: "Show", shown: "", run: (concept) => show({ concept }) }];
const CHANGING: Item[] = [
  { words: "Rename", shown: "F2", run: askName },
  { words: "Merge with…", shown: "M", run: askWhatToMerge },
  { words: "Split…", shown: "S", run: (concept) => splitShown(concept) },
  { words: "Delete", shown: "Delete", run: removeConcept },
];

/** What can be done with one concept; arrows choose, Escape and a click elsewhere close. */
export function ConceptMenu() {
  const menu = useNaming((state) => state.menu);
  const items = useNaming(isReadOnly) ? LOOKING : [...LOOKING, ...CHANGING];
  const element = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!menu) return;
    const from = document.activeElement;
    element.current?.querySelector("button")?.focus();
    const onPointerDown = (event: PointerEvent) => {
      if (!(event.target instanceof Node && element.current?.contains(event.target))) close();
    };
    window.addEventListener("pointerdown", onPointerDown);
    return () => {
      window.removeEventListener("pointerdown", onPointerDown);
      if (document.activeElement !== document.body) return;
      if (from instanceof HTMLElement && from.isConnected) from.focus();
      else focusGrid();
    };
  }, [menu]);
  if (!menu) return null;
  const concept = conceptOf(menu.concept);
  if (!concept) return null;

  return (
    <div
      ref={element}
      className="menu"
      role="menu"
      tabIndex={-1}
      aria-label={nameOf(concept)}
      style={{
        left: `min(${menu.x}px, 100vw - 200px)`,
        top: `min(${menu.y}px, 100vh - 200px)`,
      }}
      onKeyDown={onKeyDown}
    >
      {items.map(({ words, shown, run }) => (
        <button
          key={words}
          type="button"
          role="menuitem"
          className="menu-item"
          tabIndex={-1}
          onClick={() => {
            close();
            run(menu.concept);
          }}
        >
          {words}
          <span className="quiet">{shown}</span>
        </button>
      ))}
    </div>
  );
}

function close(): void {
  useNaming.setState({ menu: null });
}

function onKeyDown(event: KeyboardEvent<HTMLElement>): void {
  const items = [...event.currentTarget.querySelectorAll("button")];
  const focused = document.activeElement;
  const at = focused instanceof HTMLButtonElement ? items.indexOf(focused) : -1;
  const go = (to: number) => items.at(to % items.length)?.focus();
  if (event.key === "Escape" || event.key === "Tab") close();
  else if (event.key === "ArrowDown") go(at + 1);
  else if (event.key === "ArrowUp") go(at - 1);
  else if (event.key === "Home") go(0);
  else if (event.key === "End") go(-1);
  else return;
  event.preventDefault();
}
