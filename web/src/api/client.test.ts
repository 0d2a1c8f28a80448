import { afterEach, expect, test, vi } from "vitest";
import { sendAct } from "./client";

const ADDRESS = { study_id: "s1", annotator_id: "a 1", category: "T-shirt/top" };
const ACT = { request_id: "r1", command: { undo: {} } };

function serverAnswers(status: number, body: unknown) {
  const fetch = vi.fn(
    async (_request: Request) =>
      new Response(JSON.stringify(body), {
        status,
        headers: {
          "Content-Type": status === 200 ? "application/json" : "application/problem+json",
        },
      }),
  );
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

const problem = (code: string, rest = {}) => ({
  code,
  message: "why",
  reason: "",
  request_id: "1",
  ...rest,
});

afterEach(() => vi.unstubAllGlobals());

test("an act is sent to its annotator with its revision", async () => {
  const fetch = serverAnswers(200, { naming: { revision: "4" } });
  expect(await sendAct(ADDRESS, ACT, "3")).toEqual({ kind: "done", naming: { revision: "4" } });
  const request = fetch.mock.calls[0]?.[0];
  expect(request?.url).toContain("/api/studies/s1/annotators/a%201/acts");
  expect(await request?.json()).toEqual({
    category: "T-shirt/top",
    request_id: "r1",
    base_revision: "3",
    command: { undo: {} },
  });
});

test.each([
  [
    409,
    problem("ABORTED", { naming: { revision: "9" } }),
    { kind: "stale", naming: { revision: "9" } },
  ],
  [409, problem("ALREADY_EXISTS"), { kind: "refused", message: "why" }],
  [400, problem("FAILED_PRECONDITION"), { kind: "refused", message: "why" }],
  [401, problem("UNAUTHENTICATED"), { kind: "signed_out", message: "why" }],
  [403, problem("PERMISSION_DENIED"), { kind: "signed_out", message: "why" }],
  [429, problem("RESOURCE_EXHAUSTED"), { kind: "unreachable", message: "why" }],
  [503, problem("UNAVAILABLE"), { kind: "unreachable", message: "why" }],
  [502, "<html>", { kind: "unreachable", message: "the server answered 502" }],
])("an answer of %i %o is understood", async (status, body, answer) => {
  serverAnswers(status, body);
  expect(await sendAct(ADDRESS, ACT, "3")).toEqual(answer);
});

test("without a network the act waits", async () => {
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
  expect(await sendAct(ADDRESS, ACT, "3")).toEqual({
    kind: "unreachable",
    message: "",
  });
});
