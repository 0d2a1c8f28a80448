import { act } from "react";
import { createRoot } from "react-dom/client";
import { expect, test, vi } from "vitest";
import { useLasso } from "./useLasso";

test.each([
  ["mouse", 1],
  ["touch", 0],
])("a %s that presses between the tiles draws %d rectangles", async (pointerType, count) => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  const place = document.createElement("div");
  const capture = vi.spyOn(Element.prototype, "setPointerCapture").mockReturnValue();
  function Lassoed() {
    const here = { current: place };
    const { onPointerDown } = useLasso(here, here, 4, 100);
    return <p onPointerDown={onPointerDown} />;
  }
  document.body.append(place);
  const root = createRoot(place);
  await act(async () => root.render(<Lassoed />));
  const down = new PointerEvent("pointerdown", { pointerType, bubbles: true, button: 0 });
  place.querySelector("p")?.dispatchEvent(down);
  expect(capture).toHaveBeenCalledTimes(count);
  await act(async () => root.unmount());
  place.remove();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});
