import { type ReactNode, useEffect, useRef } from "react";

/** A modal dialog; Escape, the button and a click beside it close it. The keys start at what has `data-first`. */
export function Dialog({
  title,
  wayOut = "Close",
  onClose,
  children,
}: {
  title: string;
  /** What the button says that does nothing but close it. */
  wayOut?: string;
  onClose: () => void;
  children: ReactNode;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const from = useRef<Element | null>(null);
  useEffect(() => {
    if (!dialog.current?.open) {
      from.current = document.activeElement;
      dialog.current?.showModal();
      // React's autoFocus comes before the dialog is open, and so to nothing.
      dialog.current?.querySelector<HTMLElement>("[data-first]")?.focus();
    }
    return () => {
      // A dialog that is taken out of the page gives the focus back to nobody.
      const isLost = document.activeElement === document.body;
      if (isLost && from.current instanceof HTMLElement) from.current.focus();
    };
  }, []);
  return (
    // Escape is the keyboard's way out, and the browser's own.
    // biome-ignore lint/a11y/useKeyWithClickEvents: see above
    <dialog
      ref={dialog}
      aria-label={title}
      onClose={onClose}
      onClick={(event) => event.target === event.currentTarget && onClose()}
    >
      <div className="dialog-body">
        <header>
          <h1>{title}</h1>
          <button type="button" onClick={onClose}>
            {wayOut}
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
