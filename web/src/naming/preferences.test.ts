import { beforeEach, expect, test } from "vitest";
import { loadPreferences, loadStands, savePreferences, saveStand } from "./preferences";

beforeEach(() => localStorage.clear());

test("preferences come back", () => {
  savePreferences({ tileSize: 64, opacity: 10, singleKeys: false });
  expect(loadPreferences()).toEqual({ tileSize: 64, opacity: 10, singleKeys: false });
});

test("what is damaged counts as not there", () => {
  localStorage.setItem("onoma/preferences", "{");
  expect(loadPreferences().singleKeys).toBe(true);
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
