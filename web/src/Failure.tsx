import { ApiError, messageOf, NoAnswerError } from "./api/client";
import { sentence } from "./naming/words";

interface FailureProps {
  error: unknown;
  /** Does again what failed; offered where that may go well. */
  onAgain?: () => void;
}

/** What went wrong, and the way out of it. */
export function Failure({ error, onAgain }: FailureProps) {
  const isRefused = error instanceof ApiError && !error.isPassing;
  const isForOwner = error instanceof ApiError && error.problem.reason === "SIGN_IN";
  return (
    <p className="band" role="alert">
      <span>
        {sentence(messageOf(error))}
        {error instanceof NoAnswerError &&
          " Is this machine on the network? If it is, tell whoever runs the server."}
      </span>
      {isForOwner && <a href="/sign-in">Sign in</a>}
      {onAgain && !isRefused && (
        <button type="button" onClick={onAgain}>
          Try again
        </button>
      )}
    </p>
  );
}
