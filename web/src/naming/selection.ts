/** Selecting on lists of ids: tiles that are not on the screen count like those that are. */

export interface Selection {
  ids: ReadonlySet<string>;
  /** Where a range starts: the last tile chosen without shift. */
  anchor: string | null;
  /** The tile that the keys move from. */
  cursor: string | null;
}

export const NOTHING: Selection = { ids: new Set(), anchor: null, cursor: null };

export interface Modifiers {
  shift: boolean;
  ctrl: boolean;
}

/** What a click on a tile, or an arrow key that leads to it, selects. */
export function choose(
  selection: Selection,
  order: readonly string[],
  id: string,
  { shift, ctrl }: Modifiers,
): Selection {
  if (shift && selection.anchor !== null) {
    const range = between(order, selection.anchor, id);
    return {
      ids: new Set(ctrl ? [...selection.ids, ...range] : range),
      anchor: selection.anchor,
      cursor: id,
    };
  }
  if (ctrl) {
    const ids = new Set(selection.ids);
    if (!ids.delete(id)) ids.add(id);
    return { ids, anchor: id, cursor: id };
  }
  return { ids: new Set([id]), anchor: id, cursor: id };
}

/** What a lasso over cells of the grid selects; with ctrl on top of `selection`. */
export function lasso(
  selection: Selection,
  order: readonly string[],
  columns: number,
  cells: { top: number; bottom: number; left: number; right: number },
  ctrl: boolean,
): Selection {
  const ids = new Set(ctrl ? selection.ids : []);
  for (let row = Math.max(0, cells.top); row <= cells.bottom; row++) {
    for (
      let column = Math.max(0, cells.left);
      column <= Math.min(cells.right, columns - 1);
      column++
    ) {
      const id = order[row * columns + column];
      if (id === undefined) break;
      ids.add(id);
    }
  }
  return { ...selection, ids };
}

/** Selects all; the grid stays where it is. */
export function everything(selection: Selection, order: readonly string[]): Selection {
  return { ...selection, ids: new Set(order) };
}

/** After tiles have left the grid: nothing selected, and the keys go on where they were. */
export function afterLeaving(
  selection: Selection,
  before: readonly string[],
  after: readonly string[],
): Selection {
  if (selection.cursor === null) return NOTHING;
  const staying = new Set(after);
  const from = Math.max(0, before.indexOf(selection.cursor));
  const cursor =
    before.slice(from).find((id) => staying.has(id)) ??
    before.slice(0, from).findLast((id) => staying.has(id)) ??
    null;
  return { ids: new Set(), anchor: cursor, cursor };
}

/** What is left of a selection where another device may have taken tiles out of the grid. */
export function staying(
  selection: Selection,
  before: readonly string[],
  after: readonly string[],
): Selection {
  if (before === after) return selection;
  const here = new Set(after);
  const ids = new Set([...selection.ids].filter((id) => here.has(id)));
  const { anchor, cursor } = selection;
  if (cursor !== null && !here.has(cursor))
    return { ...afterLeaving(selection, before, after), ids };
  return ids.size === selection.ids.size ? selection : { ids, anchor, cursor };
}

function between(order: readonly string[], one: string, other: string): string[] {
  const a = order.indexOf(one);
  const b = order.indexOf(other);
  if (a < 0) return [other];
  return order.slice(Math.min(a, b), Math.max(a, b) + 1);
}
