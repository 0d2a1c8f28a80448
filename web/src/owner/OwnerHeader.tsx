/** The line above the owner's pages. */
export function OwnerHeader() {
  return (
    <header className="top-bar">
      <a className="brand" href="/">
        Onoma
      </a>
    </header>
  );
}
