import { act } from "react";
import { createRoot } from "react-dom/client";
import { expect, test, vi } from "vitest";
import type { Annotator, Study } from "../api/openapi";
import { Annotators } from "./Annotators";
import { renew } from "./studies";

vi.mock("./studies");

const ANA: Annotator = {
  annotator_id: "a",
  display_name: "Ana",
  role: "ROLE_ANNOTATOR",
  link_state: "LINK_STATE_GOOD",
  named_count: 0,
  discarded_count: 0,
} as Annotator;

test("a button that is pressed twice makes one link", async () => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  vi.mocked(renew).mockReturnValue(new Promise(() => {}));
  const place = document.createElement("div");
  const root = createRoot(place);
  const study = { study_id: "s", activation_count: 1 } as Study;
  await act(async () =>
    root.render(<Annotators study={study} annotators={[ANA]} onChanged={() => {}} />),
  );
  const button = place.querySelector<HTMLElement>("[aria-label='New link for Ana']");
  await act(async () => button?.click());
  expect(button?.getAttribute("aria-disabled")).toBe("true");
  await act(async () => button?.click());
  expect(renew).toHaveBeenCalledTimes(1);
  await act(async () => root.unmount());
  vi.unstubAllGlobals();
});
