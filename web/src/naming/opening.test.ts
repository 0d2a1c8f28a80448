import { beforeEach, expect, test, vi } from "vitest";
import { sendAct } from "../api/acts";
import { ApiError, NoAnswerError } from "../api/client";
import * as api from "../api/naming";
import type { Annotator, Discard, Naming, Study } from "../api/openapi";
import { discard } from "./commands";
import { openCategory, openNaming, rememberStands } from "./opening";
import { loadPending, savePending, storageKey } from "./pendingStorage";
import { choose, NOTHING } from "./selection";
import { act, idsShown, select, useNaming } from "./store";

const SOON_ENOUGH = { timeout: 10_000 };

vi.mock("../api/acts");
vi.mock("../api/naming");

const IDS = ["t1", "t2", "t3"];
const EMPTY: Naming = {
  study_id: "s",
  annotator_id: "a",
  category: "shirt",
  revision: "0",
  concepts: [],
  discards: [],
  pool: IDS,
  undo_count: 0,
  redo_count: 0,
};
const activations = new Map(
  IDS.map((id, index) => [id, { id, imageId: `i${index}`, share: 0.5, index }]),
);

/** What the server has been asked for, each to be answered when the test says so. */
let answers: (() => void)[];

beforeEach(() => {
  answers = [];
  vi.mocked(api.loadActivations).mockResolvedValue({ activations, version: "1" });
  vi.mocked(api.heldMaps).mockResolvedValue({
    count: 0,
    height: 1,
    width: 1,
    values: new Uint8Array(),
  });
  vi.mocked(api.loadNaming).mockImplementation(
    ({ category }) => new Promise((resolve) => answers.push(() => resolve({ ...EMPTY, category }))),
  );
  const study: Partial<Study> = { study_id: "s", categories: ["shirt", "shoe", "hat"] };
  const annotator: Partial<Annotator> = { annotator_id: "a" };
  useNaming.setState({ study: study as Study, annotator: annotator as Annotator });
});

test("a category that was asked for twice keeps what is selected once it is there", async () => {
  const forget = rememberStands();
  const openings = [openCategory("shirt"), openCategory("shirt")];
  let isSelected = false;
  for (const [at, answer] of answers.entries()) {
    answer();
    await openings[at];
    if (!useNaming.getState().view || isSelected) continue;
    select(choose(NOTHING, idsShown(), "t2", { shift: false, ctrl: false }));
    isSelected = true;
  }
  forget();
  expect([...useNaming.getState().selection.ids]).toEqual(["t2"]);
});

test("of two openings the later one shows, whichever is answered first", async () => {
  const openings = [openCategory("shirt"), openCategory("shoe")];
  answers[1]?.();
  await openings[1];
  answers[0]?.();
  await openings[0];
  expect(useNaming.getState().view?.naming.category).toBe("shoe");
});

test("two openings of one category share one way to the server", async () => {
  const openings = [openCategory("hat"), openCategory("hat")];
  answers[1]?.();
  await openings[1];
  const first = useNaming.getState().channel;
  answers[0]?.();
  await openings[0];
  expect(first).not.toBeNull();
  const again = openCategory("hat");
  answers.at(-1)?.();
  await again;
  expect(useNaming.getState().channel).toBe(first);
});

test("a study without maps says whose turn it is", async () => {
  const message = "study 's' has no maps yet (onoma maps compute STUDY)";
  const problem = { code: "FAILED_PRECONDITION", message, reason: "NO_MAPS", request_id: "r" };
  vi.mocked(api.loadActivations).mockRejectedValue(new ApiError(400, problem, false));
  const opening = openCategory("tie");
  answers[0]?.();
  await opening;
  expect(useNaming.getState().failure?.message).toContain("its owner has them made");
});

const discards: Discard[] = [{ reason: "DISCARD_REASON_UNSPECIFIED", activation_ids: ["t1"] }];

test.each([
  ["what was offered after this tab's act goes", [{ label: "Take it back", run: () => {} }], null],
  ["what was only said stays", undefined, "said"],
])("when another device acts, %s", async (_, offers, words) => {
  vi.mocked(api.loadNaming).mockResolvedValueOnce({ ...EMPTY, category: "coat" });
  await openCategory("coat");
  useNaming.setState({ notice: { words: "said", ...(offers && { offers }) } });
  const pool = ["t2", "t3"];
  const { channel, view } = useNaming.getState();
  const revision = `${Number(view?.naming.revision) + 1}`;
  channel?.meet({ ...EMPTY, category: "coat", revision, discards, pool });
  expect(useNaming.getState().view?.naming.pool).toEqual(pool);
  expect(useNaming.getState().notice?.words ?? null).toBe(words);
});

test("examples that are on their way are waited for", async () => {
  vi.useFakeTimers();
  vi.mocked(api.loadNaming).mockResolvedValueOnce({ ...EMPTY, category: "belt", pool: [] });
  await openCategory("belt");
  expect(useNaming.getState().failure?.message).toContain("not ready yet");
  vi.mocked(api.loadNaming).mockResolvedValueOnce({ ...EMPTY, category: "belt" });
  await vi.advanceTimersByTimeAsync(3000);
  expect(useNaming.getState().view?.naming.pool).toEqual(IDS);
  vi.useRealTimers();
});

test("a link that is being opened is not opened twice", async () => {
  vi.mocked(api.loadNaming).mockClear();
  const openings = [openNaming("s", "a", "hat"), openNaming("s", "a", "hat")];
  await vi.waitFor(() => expect(answers).toHaveLength(1), SOON_ENOUGH);
  answers[0]?.();
  await Promise.all(openings);
  expect(api.loadNaming).toHaveBeenCalledTimes(1);
});

/** An act of an earlier visit, in a category that is not shown. */
function keepAct(category: string): string {
  const key = storageKey("s", "a", category);
  savePending(key, [], [{ request_id: category, command: discard(["t1"]) }]);
  return key;
}

function serverHasNamings(): void {
  vi.mocked(api.loadNaming).mockImplementation(async ({ category }) => ({ ...EMPTY, category }));
}

test("what waits in a category that is not shown is said, and sent once the link opens", async () => {
  serverHasNamings();
  vi.mocked(sendAct).mockReturnValue(new Promise(() => {}));
  keepAct("cape");
  await openNaming("s", "a", "hat");
  await vi.waitFor(() => expect(sendAct).toHaveBeenCalled(), SOON_ENOUGH);
  expect(vi.mocked(sendAct).mock.lastCall?.[0]).toMatchObject({ category: "cape" });
  expect(useNaming.getState()).toMatchObject({ waiting: 1, saving: { kind: "saving" } });
});

test("what waits where no way to the server is found is said, and tried again", async () => {
  vi.useFakeTimers();
  vi.mocked(sendAct).mockReturnValue(new Promise(() => {}));
  vi.mocked(api.loadNaming).mockImplementation(async ({ category }) => {
    if (category === "veil") throw new NoAnswerError("nobody");
    return { ...EMPTY, category };
  });
  const before = useNaming.getState().waiting;
  keepAct("veil");
  await openNaming("s", "a", "hat");
  await vi.advanceTimersByTimeAsync(100);
  expect(useNaming.getState().waiting).toBe(before + 1);
  expect(useNaming.getState().saving.kind).not.toBe("saved");
  serverHasNamings();
  vi.mocked(sendAct).mockClear();
  await vi.advanceTimersByTimeAsync(15_000);
  expect(vi.mocked(sendAct).mock.lastCall?.[0]).toMatchObject({ category: "veil" });
  vi.useRealTimers();
});

test("what is lost in a category that is not shown is told until it is closed", async () => {
  serverHasNamings();
  const key = keepAct("scarf");
  vi.mocked(sendAct).mockResolvedValue({ kind: "refused", message: "why" });
  await openNaming("s", "a", "shoe");
  const words = "In “\u2068scarf\u2069”: 1 change not taken: why";
  const losses = () => [...useNaming.getState().losses.keys()];
  await vi.waitFor(() => expect(losses()).toEqual([words]), SOON_ENOUGH);
  expect(loadPending(key)).toEqual([]);
  vi.mocked(sendAct).mockReturnValue(new Promise(() => {}));
  act(discard(["t2"]));
  expect(losses()).toEqual([words]);
});

test("what another device takes out of the grid is no longer selected, nor are its reasons asked for", async () => {
  serverHasNamings();
  await openCategory("glove");
  select(choose(NOTHING, idsShown(), "t1", { shift: false, ctrl: false }));
  useNaming.setState({ justDiscarded: ["t3"] });
  const before = useNaming.getState().followed;
  const naming = { ...EMPTY, category: "glove", revision: "1", discards, pool: ["t2", "t3"] };
  useNaming.getState().channel?.meet(naming);
  expect(useNaming.getState()).toMatchObject({
    selection: { ids: new Set(), cursor: "t2" },
    justDiscarded: [],
    followed: before,
  });
});
