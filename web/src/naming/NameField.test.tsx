import { act } from "react";
import { createRoot } from "react-dom/client";
import { expect, test, vi } from "vitest";
import { cut, NameField } from "./NameField";

test("the Enter that ends the composing of a word does not end the name", async () => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  const place = document.createElement("div");
  document.body.append(place);
  const root = createRoot(place);
  const onDone = vi.fn();
  await act(async () => root.render(<NameField name="襟" onDone={onDone} />));
  const press = (rest: KeyboardEventInit) =>
    place
      .querySelector("input")
      ?.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, ...rest }));
  await act(async () => press({ isComposing: true }));
  await act(async () => press({ keyCode: 229 }));
  expect(onDone).not.toHaveBeenCalled();
  await act(async () => press({}));
  expect(onDone).toHaveBeenCalledWith("襟");
  await act(async () => root.unmount());
  place.remove();
  vi.unstubAllGlobals();
});

test("names are as long as the server takes them, in characters of any script", () => {
  expect(cut("x".repeat(201))).toHaveLength(200);
  expect(cut("👁".repeat(200))).toBe("👁".repeat(200));
  expect([...cut("👁".repeat(201))]).toHaveLength(200);
});
