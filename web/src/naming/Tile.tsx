import { memo, useDeferredValue } from "react";
import { Picture } from "./Picture";

interface TileProps {
  id: string;
  /** Place in the grid, from 0, of how many. */
  position: number;
  total: number;
  x: number;
  y: number;
  side: number;
  /** Where it first shows, or in a row beyond, whose pictures come after the paint. */
  inSight: boolean;
  selected: boolean;
  cursor: boolean;
}

/** One activation in the grid. Clicks and drags are the grid's business. */
export const Tile = memo(function Tile({
  id,
  position,
  total,
  x,
  y,
  side,
  inSight,
  selected,
  cursor,
}: TileProps) {
  const pictured = useDeferredValue(id, inSight ? id : undefined);
  return (
    // The grid holds the focus and names the tile at the cursor by aria-activedescendant.
    // biome-ignore lint/a11y/useFocusableInteractive: see above
    <div
      role="option"
      id={`tile-${id}`}
      className={cursor ? "tile at-cursor" : "tile"}
      data-id={id}
      draggable
      aria-selected={selected}
      aria-posinset={position + 1}
      aria-setsize={total}
      aria-label={`example ${position + 1} of ${total}`}
      style={{ width: side, height: side, transform: `translate(${x}px, ${y}px)` }}
    >
      {pictured !== undefined && <Picture id={pictured} />}
      {selected && <span className="tick" aria-hidden="true" />}
    </div>
  );
});
