import { act } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { NoAnswerError } from "../api/client";
import type { Job, JobState, Study } from "../api/openapi";
import { StudyMaps } from "./StudyMaps";
import { loadMapsJob } from "./studies";

vi.mock("./studies");

const KEY = "onoma/maps-job/s";
const onDone = vi.fn();
let place: HTMLElement;
let root: Root;

/** The page of a study whose maps were begun in this browser. */
async function show(activation_count: number, state: JobState, warnings: string[]): Promise<void> {
  const job: Partial<Job> = { job_id: "j", state, warnings, error: "", stage: "", done: "0" };
  vi.mocked(loadMapsJob).mockResolvedValue(job as Job);
  const study: Partial<Study> = { study_id: "s", xnn_set: "x", activation_count };
  await act(async () => root.render(<StudyMaps study={study as Study} onDone={onDone} />));
}

const lines = () => [...place.querySelectorAll("li")].map(({ textContent }) => textContent);

beforeEach(() => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  localStorage.setItem(KEY, "j");
  onDone.mockClear();
  place = document.createElement("div");
  root = createRoot(place);
});

afterEach(() => {
  act(() => root.unmount());
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("what the maps leave out is said once they are there, until it is closed", async () => {
  await show(0, "JOB_STATE_SUCCEEDED", ["a.png: cut off; left out", "b.png: set aside"]);
  expect(onDone).toHaveBeenCalled();
  await show(8, "JOB_STATE_SUCCEEDED", ["a.png: cut off; left out", "b.png: set aside"]);
  expect(place.textContent).toContain("2 warnings while the maps were drawn:");
  expect(lines()).toEqual(["a.png: cut off; left out", "b.png: set aside"]);
  await act(async () => place.querySelector("button")?.click());
  expect(place.textContent).toBe("");
  expect(localStorage.getItem(KEY)).toBeNull();
});

test("maps whose first are there before their job ends keep what is to be said", async () => {
  await show(8, "JOB_STATE_RUNNING", []);
  expect(place.textContent).toBe("");
  expect(localStorage.getItem(KEY)).toBe("j");
});

test("a question that got no answer is said until the next one gets one", async () => {
  vi.useFakeTimers();
  vi.mocked(loadMapsJob).mockRejectedValueOnce(new NoAnswerError("The server does not answer."));
  await show(0, "JOB_STATE_RUNNING", []);
  expect(place.textContent).toContain("The server does not answer.");
  await act(() => vi.advanceTimersByTimeAsync(1000));
  expect(place.textContent).not.toContain("The server does not answer.");
  expect(place.querySelector("progress")).not.toBeNull();
});

test("of many warnings the first few are shown, and how many more there are", async () => {
  const many = Array.from({ length: 12 }, (_, at) => `${at}.png: left out`);
  await show(8, "JOB_STATE_SUCCEEDED", many);
  expect(lines()).toEqual([...many.slice(0, 5), "and 7 more"]);
});

test("maps without a warning say nothing more, and are not looked for again", async () => {
  await show(8, "JOB_STATE_SUCCEEDED", []);
  expect(place.textContent).toBe("");
  expect(localStorage.getItem(KEY)).toBeNull();
});

test("maps that failed say what was left out by then beside the reason", async () => {
  await show(0, "JOB_STATE_FAILED", ["a.png: left out"]);
  expect(place.querySelector("[role=alert]")?.textContent).toContain("The maps are not done");
  expect(lines()).toEqual(["a.png: left out"]);
});
