/** Where the keys are heard. */
import type { KeyboardEvent } from "react";

/** Back to the examples, so that the keys go on there. */
export function focusGrid(): void {
  document.querySelector<HTMLElement>(".grid")?.focus({ preventScroll: true });
}

/** The same once the page is drawn, where what had the focus is gone or does nothing any more. */
export function keepFocus(): void {
  requestAnimationFrame(() =>
    setTimeout(() => {
      const { activeElement } = document;
      if (activeElement === document.body || activeElement?.matches(":disabled")) focusGrid();
    }),
  );
}

/** Whether a key goes to what is being composed of several, as Japanese is; Safari tells its end by the number alone. */
export function isComposing(event: KeyboardEvent): boolean {
  return event.nativeEvent.isComposing || event.keyCode === 229;
}
