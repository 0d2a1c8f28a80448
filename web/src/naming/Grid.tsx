import { useVirtualizer } from "@tanstack/react-virtual";
import {
  type DragEvent,
  type MouseEvent,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import { dragCount } from "./dragCount";
import { choose } from "./selection";
import { idsAt, type Place, select, useNaming } from "./store";
import { Tile } from "./Tile";
import { useLasso } from "./useLasso";

const GAP = 8;

/** All activations of the place shown; only the rows in sight are in the document. */
export function Grid() {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const view = useNaming((state) => state.view);
  const place = useNaming((state) => state.place);
  const ids = useMemo(() => (view ? idsAt(view, place) : []), [view, place]);
  const selection = useNaming((state) => state.selection);
  const tileSize = useNaming((state) => state.tileSize);
  const width = useWidth(content);

  // As many columns as fit at the size asked for, then as wide as they come.
  const columns = Math.max(1, Math.floor((width + GAP) / (tileSize + GAP)));
  const side = Math.max(tileSize, Math.floor((width + GAP) / columns) - GAP);
  const pitch = side + GAP;
  const rows = useVirtualizer({
    count: Math.ceil(ids.length / columns),
    getScrollElement: () => scroller.current,
    estimateSize: () => pitch,
    overscan: 3,
  });
  const { rectangle, onPointerDown } = useLasso(content, columns, pitch);

  // biome-ignore lint/correctness/useExhaustiveDependencies: rows have another height when the pitch changes
  useLayoutEffect(() => rows.measure(), [pitch]);
  useEffect(() => useNaming.setState({ columns }), [columns]);
  useEffect(() => {
    const at = selection.cursor === null ? -1 : ids.indexOf(selection.cursor);
    if (at >= 0) rows.scrollToIndex(Math.floor(at / columns));
  }, [selection.cursor, ids, columns, rows]);

  function onClick(event: MouseEvent): void {
    const id = idAt(event);
    const modifiers = { shift: event.shiftKey, ctrl: event.ctrlKey || event.metaKey };
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
    event.dataTransfer.setData("text/plain", `${tiles.length} examples`);
    dragCount(event.dataTransfer, tiles.length);
    useNaming.setState({ dragged: { tiles } });
  }

  return (
    <div className="grid-scroller" ref={scroller}>
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: the keys are in shortcuts.ts */}
      <div
        className="grid"
        role="listbox"
        aria-label="Examples"
        aria-multiselectable="true"
        aria-activedescendant={selection.cursor === null ? undefined : `tile-${selection.cursor}`}
        tabIndex={0}
        onClick={onClick}
        onDoubleClick={(event) => useNaming.setState({ enlarged: idAt(event) })}
        onDragStart={onDragStart}
        onDragEnd={() => useNaming.setState({ dragged: null })}
        onPointerDown={onPointerDown}
      >
        <div className="grid-content" ref={content} style={{ height: rows.getTotalSize() }}>
          {rows.getVirtualItems().map((row) => (
            <div
              key={row.key}
              className="grid-row"
              style={{
                transform: `translateY(${row.start}px)`,
                gridTemplateColumns: `repeat(${columns}, ${side}px)`,
                height: side,
              }}
            >
              {ids.slice(row.index * columns, (row.index + 1) * columns).map((id, column) => (
                <Tile
                  key={id}
                  id={id}
                  position={row.index * columns + column}
                  total={ids.length}
                  selected={selection.ids.has(id)}
                  cursor={selection.cursor === id}
                />
              ))}
            </div>
          ))}
          {rectangle && <div className="lasso" style={rectangle} />}
        </div>
        {view && ids.length === 0 && <EmptyPlace place={place} />}
      </div>
    </div>
  );
}

function EmptyPlace({ place }: { place: Place }) {
  if (place === "discarded") {
    return (
      <p className="empty">
        Nothing is discarded. Drag examples that make no sense here, or press <kbd>X</kbd>.
      </p>
    );
  }
  if (place !== "pool") {
    return (
      <p className="empty">
        This concept is empty. Drag examples from the pool onto it, or press its number.
      </p>
    );
  }
  return <p className="empty">The pool is empty: every example is named or discarded.</p>;
}

function idAt(event: MouseEvent | DragEvent): string | null {
  const tile = event.target instanceof Element ? event.target.closest<HTMLElement>(".tile") : null;
  return tile?.dataset.id ?? null;
}

function useWidth(element: React.RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(entry?.contentRect.width ?? 0));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return width;
}
