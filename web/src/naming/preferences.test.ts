import { beforeEach, expect, test } from "vitest";
import { loadPreferences, loadStands, savePreferences, saveStand } from "./preferences";

beforeEach(() => localStorage.clear());

test("preferences come back", () => {
  const liked = { tileSize: 64, opacity: 10, colours: "cividis", singleKeys: false } as const;
  savePreferences(liked);
  expect(loadPreferences()).toEqual(liked);
});

test("what is damaged counts as not there", () => {
  localStorage.setItem("onoma/preferences", "{");
  expect(loadPreferences().singleKeys).toBe(true);
  localStorage.setItem("onoma/preferences", '{"colours": "rainbow", "opacity": 10}');
  expect(loadPreferences()).toMatchObject({ colours: "inferno", opacity: 10 });
});

test("each category remembers where it stood, and the study the last one", () => {
  saveStand("s", "a", "shirt", { place: "discarded", cursor: "7" });
  saveStand("s", "a", "coat", { place: "pool", cursor: null });
  expect(loadStands("s", "a")).toEqual({
    last: "coat",
    categories: {
      shirt: { place: "discarded", cursor: "7" },
      coat: { place: "pool", cursor: null },
    },
  });
});
