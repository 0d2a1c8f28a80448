import { useVirtualizer } from "@tanstack/react-virtual";
import {
  type DragEvent,
  type MouseEvent,
  type ReactNode,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { dragCount } from "./dragCount";
import { EmptyPlace } from "./EmptyPlace";
import { choose } from "./selection";
import { idsShown, select, useNaming } from "./store";
import { Tile } from "./Tile";
import { useLasso } from "./useLasso";
import { counted } from "./words";

const GAP = 8;

/**
 * All activations of the place shown; only the rows in sight are in the document. Tiles lie
 * in one list, so that those that move up when others leave are moved, not made again.
 */
export function Grid() {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  // When the last tile leaves, what was in sight stays there, hidden: taking that back makes no tile again.
  const left = useRef<{ tiles: ReactNode; height: number }>({ tiles: null, height: 0 });
  const ids = useNaming(idsShown);
  const category = useNaming((state) => state.category);
  const place = useNaming((state) => state.place);
  const selection = useNaming((state) => state.selection);
  const followed = useNaming((state) => state.followed);
  const order = useNaming((state) => state.order);
  const tileSize = useNaming((state) => state.tileSize);
  const { width, height } = useSize(content, scroller);

  // As many columns as fit at the size asked for, then as wide as they come.
  const columns = Math.max(1, Math.floor((width + GAP) / (tileSize + GAP)));
  const side = Math.max(tileSize, Math.floor((width + GAP) / columns) - GAP);
  const pitch = side + GAP;
  const rows = useVirtualizer({
    count: Math.ceil(ids.length / columns),
    getScrollElement: () => scroller.current,
    estimateSize: () => pitch,
    overscan: 1,
  });
  const { rectangle, onPointerDown } = useLasso(scroller, content, columns, pitch);

  // biome-ignore lint/correctness/useExhaustiveDependencies: another place is shown from its start
  useLayoutEffect(() => {
    if (scroller.current) scroller.current.scrollTop = 0;
  }, [category, place]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: rows have another height when the pitch changes
  useLayoutEffect(() => rows.measure(), [pitch]);
  useEffect(
    () => useNaming.setState({ columns, rows: Math.floor(height / pitch) }),
    [columns, height, pitch],
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: not where another device acts
  useEffect(() => {
    const at = selection.cursor === null ? -1 : ids.indexOf(selection.cursor);
    if (at < 0) return;
    const row = Math.floor(at / columns);
    const offset = rows.scrollOffset ?? 0;
    const isInSight = row * pitch >= offset && (row + 1) * pitch <= offset + height;
    if (!isInSight) rows.scrollToIndex(row);
  }, [followed, order, columns, pitch]);

  const isInSight = (row: number) =>
    !rows.range || (row >= rows.range.startIndex && row <= rows.range.endIndex);

  function onClick(event: MouseEvent): void {
    const id = idAt(event);
    // A finger has no Ctrl: each tap takes one more example, or leaves it out.
    const isTouch = (event.nativeEvent as PointerEvent).pointerType === "touch";
    const ctrl = event.ctrlKey || event.metaKey || isTouch;
    const modifiers = { shift: event.shiftKey, ctrl };
    if (id) select(choose(selection, ids, id, modifiers));
  }

  function onDragStart(event: DragEvent): void {
    const id = idAt(event);
    if (!id) return;
    const chosen = selection.ids.has(id)
      ? selection
      : choose(selection, ids, id, { shift: false, ctrl: false });
    select(chosen);
    const tiles = ids.filter((one) => chosen.ids.has(one));
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", counted(tiles.length, "example"));
    dragCount(event.dataTransfer, tiles.length);
    useNaming.setState({ dragged: { tiles } });
  }

  const tiles = rows
    .getVirtualItems()
    .flatMap((row) =>
      ids
        .slice(row.index * columns, (row.index + 1) * columns)
        .map((id, column) => (
          <Tile
            key={id}
            id={id}
            position={row.index * columns + column}
            total={ids.length}
            x={column * pitch}
            y={row.start}
            side={side}
            inSight={isInSight(row.index)}
            selected={selection.ids.has(id)}
            cursor={selection.cursor === id}
          />
        )),
    );
  // Out of sight it is not in the document, and names nothing.
  const cursorTile = tiles.find((tile) => tile.props.cursor);
  const contentHeight = rows.getTotalSize();
  const isEmpty = tiles.length === 0;
  useLayoutEffect(() => {
    if (!isEmpty) left.current = { tiles, height: contentHeight };
  });

  return (
    <div className="grid-scroller" ref={scroller}>
      {ids.length === 0 && <EmptyPlace />}
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: the keys are in shortcuts.ts */}
      <div
        className="grid"
        role="listbox"
        aria-label="Examples"
        aria-multiselectable="true"
        aria-activedescendant={cursorTile ? `tile-${cursorTile.props.id}` : undefined}
        tabIndex={0}
        onClick={onClick}
        onDoubleClick={(event) => useNaming.setState({ enlarged: idAt(event) })}
        onDragStart={onDragStart}
        onDragEnd={() => useNaming.setState({ dragged: null })}
        onPointerDown={onPointerDown}
      >
        <div
          className={isEmpty ? "grid-content left" : "grid-content"}
          ref={content}
          style={{ height: isEmpty ? left.current.height : contentHeight }}
        >
          {isEmpty ? left.current.tiles : tiles}
          {rectangle && <div className="lasso" style={rectangle} />}
        </div>
      </div>
    </div>
  );
}

function idAt(event: MouseEvent | DragEvent): string | null {
  const tile = event.target instanceof Element ? event.target.closest<HTMLElement>(".tile") : null;
  return tile?.dataset.id ?? null;
}

/** Width of one element and height of the other, as they are now. */
function useSize(
  wide: React.RefObject<HTMLElement | null>,
  high: React.RefObject<HTMLElement | null>,
): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() =>
      setSize({
        width: wide.current?.clientWidth ?? 0,
        height: high.current?.clientHeight ?? 0,
      }),
    );
    for (const { current } of [wide, high]) if (current) observer.observe(current);
    return () => observer.disconnect();
  }, [wide, high]);
  return size;
}
