import { expect, test } from "vitest";
import { matches } from "./matching";

const concepts = ["left sleeve", "Sleeve", "collar", "Ärmel", "שרוול", "slee"].map((name) => ({
  concept_id: name,
  name,
  activation_ids: [],
}));
const found = (text: string) => matches(concepts, text).map(({ name }) => name);

test("the very name comes first, then those that start with it, then those with such a word", () => {
  expect(found("slee")).toEqual(["slee", "Sleeve", "left sleeve"]);
});

test("capitals and accents make no difference, in any script", () => {
  expect(found("armel")).toEqual(["Ärmel"]);
  expect(found("שר")).toEqual(["שרוול"]);
});

test("nothing typed finds all, in the order of the shelf", () => {
  expect(found(" ")).toEqual(concepts.map(({ name }) => name));
});
