import type { ReactNode } from "react";

interface TableScrollProps {
  /** Names a table in which nothing takes the focus: then the keys scroll the frame itself. */
  label?: string;
  children: ReactNode;
}

/** A frame in which a table that is wider than the window scrolls, and not the page. */
export function TableScroll({ label, children }: TableScrollProps) {
  if (label === undefined) return <div className="table-scroll">{children}</div>;
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is of a form
    // biome-ignore lint/a11y/noNoninteractiveTabindex: so the keys can scroll it
    <div className="table-scroll" role="group" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}
