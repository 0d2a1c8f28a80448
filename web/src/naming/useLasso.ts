import { type PointerEvent, type RefObject, useState } from "react";
import { lasso } from "./selection";
import { idsShown, select, useNaming } from "./store";

export interface Rectangle {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Selecting by a rectangle drawn from between the tiles; `pitch` is tile and gap together. */
export function useLasso(content: RefObject<HTMLElement | null>, columns: number, pitch: number) {
  const [rectangle, setRectangle] = useState<Rectangle | null>(null);

  function onPointerDown(event: PointerEvent<HTMLElement>): void {
    const box = content.current;
    const onTile = event.target instanceof Element && event.target.closest(".tile");
    if (!box || onTile || event.button !== 0) return;
    const source = event.currentTarget;
    const ctrl = event.ctrlKey || event.metaKey;
    const start = useNaming.getState().selection;
    const pointAt = (at: { clientX: number; clientY: number }) => {
      const { left, top } = box.getBoundingClientRect();
      return { x: at.clientX - left, y: at.clientY - top };
    };
    const from = pointAt(event);

    const onMove = (move: globalThis.PointerEvent) => {
      const to = pointAt(move);
      const [left, right] = [Math.min(from.x, to.x), Math.max(from.x, to.x)];
      const [top, bottom] = [Math.min(from.y, to.y), Math.max(from.y, to.y)];
      setRectangle({ left, top, width: right - left, height: bottom - top });
      const cells = {
        left: Math.floor(left / pitch),
        right: Math.floor(right / pitch),
        top: Math.floor(top / pitch),
        bottom: Math.floor(bottom / pitch),
      };
      select(lasso(start, idsShown(), columns, cells, ctrl));
    };
    const onEnd = () => {
      setRectangle(null);
      source.removeEventListener("pointermove", onMove);
    };
    source.setPointerCapture(event.pointerId);
    source.addEventListener("pointermove", onMove);
    source.addEventListener("lostpointercapture", onEnd, { once: true });
  }

  return { rectangle, onPointerDown };
}
