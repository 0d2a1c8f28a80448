import { useLoaded } from "./useLoaded";

/** The line above the owner's pages. */
export function OwnerHeader() {
  const isSignedIn = useLoaded(askWhetherSignedIn).data;
  return (
    <header className="top-bar">
      <a className="brand" href="/">
        Onoma
      </a>
      <span className="gap" />
      {isSignedIn && (
        <form method="post" action="/sign-out">
          <button type="submit">Sign out</button>
        </form>
      )}
    </header>
  );
}

/** Whoever sits at the server's machine is the owner without having signed in, and has nothing to end. */
async function askWhetherSignedIn(): Promise<boolean> {
  const state: { is_signed_in: boolean } = await (await fetch("/sign-in/state")).json();
  return state.is_signed_in;
}
