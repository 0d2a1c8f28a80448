import { renderToStaticMarkup } from "react-dom/server";
import { expect, test } from "vitest";
import { ApiError, NoAnswerError } from "./api/client";
import { Failure } from "./Failure";

function shown(error: unknown, onAgain?: () => void): HTMLElement {
  const place = document.createElement("div");
  place.innerHTML = renderToStaticMarkup(<Failure error={error} {...(onAgain && { onAgain })} />);
  return place;
}

const again = () => undefined;

function refused(reason: string): ApiError {
  const problem = {
    code: "PERMISSION_DENIED",
    message: "this is refused",
    reason,
    request_id: "r",
  };
  return new ApiError(403, problem, false);
}

test("no answer says where to look, and is tried again by a button", () => {
  const place = shown(new NoAnswerError("The server does not answer."), again);
  expect(place.textContent).toContain("Is this machine on the network?");
  expect(place.querySelector("button")?.textContent).toBe("Try again");
});

test("what is the owner's leads to where the owner signs in, and is not tried again before", () => {
  const place = shown(refused("SIGN_IN"), again);
  expect(place.querySelector("a")?.getAttribute("href")).toBe("/sign-in");
  expect(place.querySelector("button")).toBeNull();
});

test("any other refusal is a sentence and nothing more: the same again is refused again", () => {
  const place = shown(refused("NOT_FOUND"), again);
  expect(place.querySelector("[role=alert]")?.textContent).toBe("This is refused.");
  expect(place.querySelector("button")).toBeNull();
});
