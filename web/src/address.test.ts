import { expect, test } from "vitest";
import { addressOf, invitationLink, namingPath, studyPath } from "./address";

const at = (link: string) => addressOf(new URL(link, "http://127.0.0.1") as unknown as Location);

test("a link of an invitation leads to its token, which no server sees", () => {
  const link = invitationLink("http://127.0.0.1", "a+b/c=");
  expect(new URL(link).pathname).toBe("/name");
  expect(at(link)).toEqual({ page: "invitation", token: "a+b/c=" });
});

test("ids with any characters survive the address bar", () => {
  expect(at(namingPath("s/1", "ä b"))).toMatchObject({ studyId: "s/1", annotatorId: "ä b" });
  expect(at(studyPath("a?b"))).toEqual({ page: "study", studyId: "a?b" });
});

test("the category comes from the query", () => {
  expect(at("/name/s/a?category=T-shirt%2Ftop")).toMatchObject({ category: "T-shirt/top" });
});

test("what was cut off in the middle is what somebody has to refuse, not an error", () => {
  expect(at("/name#%zz")).toEqual({ page: "invitation", token: "%zz" });
  expect(at("/studies/%E0%A4%A")).toEqual({ page: "study", studyId: "%E0%A4%A" });
});

test("anything else is unknown", () => {
  expect(at("/name")).toEqual({ page: "unknown" });
  expect(at("/studies/a/b")).toEqual({ page: "unknown" });
});
