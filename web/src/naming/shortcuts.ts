/** Every key of the naming page, with the words that the help shows for it. */
import { REDO, UNDO } from "./commands";
import {
  changeOpacity,
  deleteShown,
  discardSelection,
  enlargeCursor,
  makeConcept,
  moveCursor,
  poolSelection,
  renameShown,
  resizeTiles,
  selected,
  takeConceptNumber,
} from "./hands";
import { everything, NOTHING } from "./selection";
import { act, idsShown, select, show, useNaming } from "./store";

export interface Shortcut {
  /** As event.key in lower case, with "ctrl+" and "shift+" before it where they count. */
  keys: string[];
  shown: string;
  words: string;
  run: (event: KeyboardEvent) => void;
}

const modifiers = (event: KeyboardEvent) => ({ shift: event.shiftKey, ctrl: false });
const columns = () => useNaming.getState().columns;

function arrow(key: string, by: () => number): Pick<Shortcut, "keys" | "run"> {
  return { keys: [key, `shift+${key}`], run: (event) => moveCursor(by(), modifiers(event)) };
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
  { keys: ["0"], shown: "0", words: "show the pool", run: () => show("pool") },
  { keys: ["u"], shown: "U", words: "back to the pool", run: poolSelection },
  { keys: ["x"], shown: "X", words: "discard", run: discardSelection },
  { keys: ["f2"], shown: "F2", words: "rename the concept that is shown", run: renameShown },
  {
    keys: ["delete"],
    shown: "Delete",
    words: "delete the concept that is shown",
    run: deleteShown,
  },
  { keys: ["ctrl+z"], shown: "Ctrl Z", words: "undo", run: () => act(UNDO) },
  {
    keys: ["ctrl+shift+z", "ctrl+y"],
    shown: "Ctrl Shift Z",
    words: "redo",
    run: () => act(REDO),
  },
  {
    ...arrow("arrowleft", () => -1),
    shown: "← → ↑ ↓",
    words: "move; with Shift, select on the way",
  },
  { ...arrow("arrowright", () => 1), shown: "", words: "" },
  { ...arrow("arrowup", () => -columns()), shown: "", words: "" },
  { ...arrow("arrowdown", () => columns()), shown: "", words: "" },
  {
    keys: ["ctrl+a"],
    shown: "Ctrl A",
    words: "select all",
    run: () => select(everything(idsShown())),
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

/** Runs what a key means; keys typed into fields and dialogs keep their own meaning. */
export function onKeyDown(event: KeyboardEvent): void {
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest("input, select, textarea, dialog")) return;
  if (event.key === "Enter" && target?.closest("button, a")) return;
  const ctrl = event.ctrlKey || event.metaKey ? "ctrl+" : "";
  const shift = event.shiftKey ? "shift+" : "";
  const shortcut = event.altKey
    ? undefined
    : BY_KEY.get(`${ctrl}${shift}${event.key.toLowerCase()}`);
  if (!shortcut) return;
  event.preventDefault();
  shortcut.run(event);
}

export function onKeyUp(event: KeyboardEvent): void {
  if (event.key.toLowerCase() === "p") useNaming.setState({ plain: false });
}
