import { useRef } from "react";
import { isComposing } from "./focus";

/** Of a concept, in characters. */
export const LONGEST_NAME = 200;

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
      maxLength={LONGEST_NAME}
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
