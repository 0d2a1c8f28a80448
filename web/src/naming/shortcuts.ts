/** Every key of the naming page, with the words that the help shows for it. */
import {
  changeColours,
  changeOpacity,
  deleteShown,
  discardSelection,
  enlargeCursor,
  makeConcept,
  mergeShown,
  moveCursor,
  poolSelection,
  redo,
  renameShown,
  resizeTiles,
  selected,
  showByKey,
  splitShown,
  takeConceptNumber,
  toggleCursor,
  undo,
} from "./hands";
import { stepCategory } from "./opening";
import { everything, NOTHING } from "./selection";
import { idsShown, select, useNaming } from "./store";

export interface Shortcut {
  /** As event.key in lower case, with "ctrl+" and "shift+" before it where they count. */
  keys: string[];
  /** How the help shows them; empty where another line has said it. */
  shown: string;
  words: string;
  run: (event: KeyboardEvent) => void;
}

const modifiers = (event: KeyboardEvent) => ({
  shift: event.shiftKey,
  ctrl: event.ctrlKey || event.metaKey,
});
const columns = () => useNaming.getState().columns;
const screenful = () => columns() * Math.max(1, useNaming.getState().rows);

function moving(key: string, by: () => number, shown = "", words = ""): Shortcut {
  const keys = [key, `shift+${key}`, `ctrl+${key}`];
  return { keys, shown, words, run: (event) => moveCursor(by(), modifiers(event)) };
}

export const SHORTCUTS: Shortcut[] = [
  {
    keys: ["n"],
    shown: "N",
    words: "new concept from the selection",
    run: () => makeConcept(selected()),
  },
  {
    keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"],
    shown: "1 – 9",
    words: "put the selection into this concept; with nothing selected, show it",
    run: (event) => takeConceptNumber(Number(event.key)),
  },
  {
    keys: ["/"],
    shown: "/",
    words: "find a concept by its name, or make one; Enter puts the selection there",
    run: () => useNaming.setState({ finderOpen: true }),
  },
  { keys: ["0"], shown: "0", words: "show the pool", run: () => showByKey("pool") },
  { keys: ["u"], shown: "U", words: "back to the pool", run: poolSelection },
  {
    keys: ["x"],
    shown: "X",
    words: "discard; then, if you like, 1 to 4 to say why",
    run: () => discardSelection(),
  },
  { keys: ["f2"], shown: "F2", words: "rename the concept that is shown", run: renameShown },
  { keys: ["m"], shown: "M", words: "merge it with another", run: mergeShown },
  { keys: ["s"], shown: "S", words: "split the selection off it", run: () => splitShown() },
  { keys: ["delete", "backspace"], shown: "Delete", words: "delete it", run: deleteShown },
  { keys: ["ctrl+z"], shown: "Ctrl Z", words: "undo, as far back as you like", run: undo },
  { keys: ["ctrl+shift+z", "ctrl+y"], shown: "Ctrl Shift Z", words: "redo", run: redo },
  moving(
    "arrowleft",
    () => -1,
    "← → ↑ ↓",
    "move; with Shift, select on the way; with Ctrl, only move",
  ),
  moving("arrowright", () => 1),
  moving("arrowup", () => -columns()),
  moving("arrowdown", () => columns()),
  moving("pageup", () => -screenful(), "Page ↑ ↓", "a screenful up or down; with Shift, select it"),
  moving("pagedown", screenful),
  moving("home", () => -idsShown().length, "Home, End", "to the first, to the last"),
  moving("end", () => idsShown().length),
  { keys: [" "], shown: "Space", words: "select this one too, or not", run: toggleCursor },
  {
    keys: ["ctrl+a"],
    shown: "Ctrl A",
    words: "select all",
    run: () => select(everything(useNaming.getState().selection, idsShown())),
  },
  { keys: ["escape"], shown: "Esc", words: "select nothing", run: () => select(NOTHING) },
  { keys: ["enter"], shown: "Enter", words: "large view", run: enlargeCursor },
  {
    keys: ["p"],
    shown: "P",
    words: "hold to see the photographs without maps",
    run: () => useNaming.setState({ plain: true }),
  },
  {
    keys: ["+", "shift++", "="],
    shown: "+ −",
    words: "larger, smaller tiles",
    run: () => resizeTiles(1),
  },
  { keys: ["-"], shown: "", words: "", run: () => resizeTiles(-1) },
  { keys: ["o"], shown: "O, Shift O", words: "stronger, weaker maps", run: () => changeOpacity(1) },
  { keys: ["shift+o"], shown: "", words: "", run: () => changeOpacity(-1) },
  { keys: ["c"], shown: "C", words: "maps in other colours", run: changeColours },
  {
    keys: ["]"],
    shown: "[ ]",
    words: "category before, category after",
    run: () => stepCategory(1),
  },
  { keys: ["["], shown: "", words: "", run: () => stepCategory(-1) },
  {
    keys: ["?", "shift+?"],
    shown: "?",
    words: "this help",
    run: () => useNaming.setState({ helpOpen: true }),
  },
];

const BY_KEY = new Map(
  SHORTCUTS.flatMap((shortcut) => shortcut.keys.map((key) => [key, shortcut])),
);

const FIELDS = "select, textarea, dialog, [role=menu], input:not([type=range], [type=checkbox])";
const MOVING = /^(arrow|page|home|end)/;

/** Lets keys do what they mean until the returned function is called. */
export function listenToKeys(): () => void {
  window.addEventListener("keydown", onKeyDown);
  window.addEventListener("keyup", onKeyUp);
  window.addEventListener("blur", unhideMaps);
  window.addEventListener("pointerdown", endLost);
  return () => {
    window.removeEventListener("keydown", onKeyDown);
    window.removeEventListener("keyup", onKeyUp);
    window.removeEventListener("blur", unhideMaps);
    window.removeEventListener("pointerdown", endLost);
  };
}

/** Runs what a key means; keys typed into fields and dialogs keep their own meaning. */
function onKeyDown(event: KeyboardEvent): void {
  // Behind a dialog nothing happens, wherever the focus is.
  if (document.querySelector("dialog[open]")) return;
  const target = event.target instanceof Element ? event.target : null;
  const key = event.key.toLowerCase();
  if (event.altKey || target?.closest(FIELDS)) return;
  if (useNaming.getState().renaming !== null) {
    // The field is not drawn yet, or gone with a concept that was refused: this was meant for the name.
    if (key === "enter" || key === "escape") endLostName();
    if (key !== "tab") event.preventDefault();
    return;
  }
  if (target?.closest("input") && (MOVING.test(key) || key === " ")) return;
  if (target?.closest("button, a") && (key === "enter" || key === " ")) return;
  const ctrl = event.ctrlKey || event.metaKey ? "ctrl+" : "";
  // Signs such as ? and [ lie on other keys elsewhere: whether Shift is held says nothing then.
  const shift = event.shiftKey && (key.length > 1 || ctrl || /[a-z]/.test(key)) ? "shift+" : "";
  if (!useNaming.getState().singleKeys && !ctrl && key.length === 1 && key !== " ") return;
  const shortcut = BY_KEY.get(`${ctrl}${shift}${key}`);
  if (!shortcut) return;
  event.preventDefault();
  shortcut.run(event);
}

/** Lets keys mean what they do again, where the field for a name went with its concept. */
function endLostName(): void {
  if (useNaming.getState().renaming === null) return;
  if (!document.querySelector(".name-field")) useNaming.setState({ renaming: null });
}

/** The same of a drag: an element that is gone does not say that its drag has ended. */
function endLost(): void {
  endLostName();
  if (useNaming.getState().dragged !== null) useNaming.setState({ dragged: null });
}

function onKeyUp(event: KeyboardEvent): void {
  if (event.key.toLowerCase() === "p") unhideMaps();
}

/** Also where the window is left: what is let go there is not heard here. */
function unhideMaps(): void {
  useNaming.setState({ plain: false });
}
