import { useRef } from "react";
import { isComposing } from "./focus";

const LONGEST_NAME = 200;

/** A concept's name as far as the server takes it, which counts characters and not UTF-16 units. */
export function cut(name: string): string {
  return [...name].slice(0, LONGEST_NAME).join("");
}

/** A name being edited in place: Enter or leaving takes it, Escape keeps the old one. */
export function NameField({
  name,
  onDone,
}: {
  name: string;
  onDone: (chosen: string | null) => void;
}) {
  const cancelled = useRef(false);
  return (
    <input
      className="name-field"
      aria-label="Name of the concept"
      placeholder="name, or leave it for later"
      dir="auto"
      defaultValue={name}
      onInput={({ currentTarget }) => {
        const { value, selectionStart } = currentTarget;
        const taken = cut(value);
        if (taken === value) return;
        currentTarget.value = taken;
        currentTarget.setSelectionRange(selectionStart, selectionStart);
      }}
      // The field appears because the hand asked for it.
      // biome-ignore lint/a11y/noAutofocus: see above
      autoFocus
      onFocus={(event) => event.currentTarget.select()}
      onBlur={(event) => onDone(cancelled.current ? null : event.currentTarget.value.trim())}
      onKeyDown={(event) => {
        if (isComposing(event)) return;
        if (event.key !== "Enter" && event.key !== "Escape") return;
        cancelled.current = event.key === "Escape";
        event.currentTarget.blur();
      }}
    />
  );
}
