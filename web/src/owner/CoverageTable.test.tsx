import { renderToStaticMarkup } from "react-dom/server";
import { expect, test } from "vitest";
import type { Coverage } from "../api/openapi";
import { Share } from "./CoverageTable";

const ROW: Coverage = {
  category: "shirt",
  annotator_id: "a",
  activation_count: 8,
  image_count: 5,
  left_out_count: 0,
  concept_count: 0,
  removed_concepts: [],
};

function shown(row: Partial<Coverage>): HTMLElement {
  const cell = document.createElement("td");
  cell.innerHTML = renderToStaticMarkup(<Share row={{ ...ROW, ...row }} of="activation" />);
  return cell;
}

test.each([
  [{}, "not defined: this annotator has not begun this category"],
  [{ annotator_id: "" }, "not defined: nobody has begun this category"],
  [{ activation_count: 0 }, "not defined: this category has no significant activation"],
  [
    { annotator_id: "", activation_count: 0 },
    "not defined: this category has no significant activation",
  ],
])("a share that is 0/0 says why: %j", (row, why) => {
  const cell = shown(row);
  expect(cell.querySelector("[aria-hidden]")?.textContent).toBe("–");
  expect(cell.querySelector("[title]")?.getAttribute("title")).toBe(why);
  expect(cell.querySelector(".unseen")?.textContent).toBe(why);
});

test("a share of nothing named is 0 and needs no reason", () => {
  const cell = shown({ activation: 0 });
  expect(cell.textContent).toBe("0.0\u00a0%");
  expect(cell.querySelector("[title]")).toBeNull();
});
