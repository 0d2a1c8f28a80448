import { type PointerEvent, type RefObject, useState } from "react";
import { lasso } from "./selection";
import { idsShown, select, useNaming } from "./store";

export interface Rectangle {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** So close to the edge of what is in sight, the lasso pulls on what is beyond it. */
const EDGE_PX = 32;
const FASTEST_PX_A_FRAME = 24;

/**
 * Selecting by a rectangle drawn from between the tiles; at the upper and lower edge of the
 * scroller it scrolls on. `pitch` is tile and gap together.
 */
export function useLasso(
  scroller: RefObject<HTMLElement | null>,
  content: RefObject<HTMLElement | null>,
  columns: number,
  pitch: number,
) {
  const [rectangle, setRectangle] = useState<Rectangle | null>(null);

  function onPointerDown(event: PointerEvent<HTMLElement>): void {
    const [view, box] = [scroller.current, content.current];
    const onTile = event.target instanceof Element && event.target.closest(".tile");
    // A finger scrolls.
    const isTouch = event.pointerType === "touch";
    if (!view || !box || onTile || isTouch || event.button !== 0) return;
    const source = event.currentTarget;
    const ctrl = event.ctrlKey || event.metaKey;
    const start = useNaming.getState().selection;
    let last: { clientX: number; clientY: number } = event;
    let scrolled = view.scrollTop;
    let frame = 0;
    const point = () => {
      const { left, top } = box.getBoundingClientRect();
      return { x: last.clientX - left, y: last.clientY - top };
    };
    const from = point();

    const draw = () => {
      const to = point();
      const [left, right] = [Math.min(from.x, to.x), Math.max(from.x, to.x)];
      const [top, bottom] = [Math.max(0, Math.min(from.y, to.y)), Math.max(from.y, to.y)];
      const height = Math.min(bottom, box.offsetHeight) - top;
      setRectangle({ left, top, width: right - left, height });
      const cells = {
        left: Math.floor(left / pitch),
        right: Math.floor(right / pitch),
        top: Math.floor(top / pitch),
        bottom: Math.floor(bottom / pitch),
      };
      select(lasso(start, idsShown(), columns, cells, ctrl));
    };
    const onMove = (move: globalThis.PointerEvent) => {
      last = move;
      draw();
    };
    const follow = () => {
      if (last !== event) view.scrollTop += pull(view, last.clientY);
      if (view.scrollTop !== scrolled) draw();
      scrolled = view.scrollTop;
      frame = requestAnimationFrame(follow);
    };
    const onEnd = () => {
      setRectangle(null);
      cancelAnimationFrame(frame);
      source.removeEventListener("pointermove", onMove);
    };
    source.setPointerCapture(event.pointerId);
    source.addEventListener("pointermove", onMove);
    source.addEventListener("lostpointercapture", onEnd, { once: true });
    frame = requestAnimationFrame(follow);
  }

  return { rectangle, onPointerDown };
}

/** How far to scroll in this frame: the more, the further the mouse is over the edge. */
function pull(view: HTMLElement, y: number): number {
  const { top, bottom } = view.getBoundingClientRect();
  const over = Math.max(0, y - (bottom - EDGE_PX)) - Math.max(0, top + EDGE_PX - y);
  return Math.sign(over) * Math.min(FASTEST_PX_A_FRAME, Math.abs(over));
}
