import { afterEach, expect, test, vi } from "vitest";
import { sendAct } from "./acts";

const ADDRESS = { study_id: "s1", annotator_id: "a 1", category: "T-shirt/top" };
const ACT = { request_id: "r1", command: { undo: {} } };

function serverAnswers(status: number, body: unknown, headers = {}) {
  const fetch = vi.fn(
    async (_request: Request) =>
      new Response(JSON.stringify(body), {
        status,
        headers: {
          "Content-Type": status === 200 ? "application/json" : "application/problem+json",
          ...headers,
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

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

test("an act is sent to its annotator with its revision", async () => {
  const change = { base_revision: "3", revision: "4" };
  const fetch = serverAnswers(200, { change });
  expect(await sendAct(ADDRESS, ACT, "3")).toEqual({ kind: "done", change });
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
    problem("ABORTED", { reason: "STALE_REVISION", naming: { revision: "9" } }),
    { kind: "stale", naming: { revision: "9" } },
  ],
  [
    400,
    problem("INVALID_ARGUMENT", { reason: "UNKNOWN_REVISION" }),
    { kind: "refused", message: "why" },
  ],
  [409, problem("ALREADY_EXISTS"), { kind: "refused", message: "why" }],
  [400, problem("FAILED_PRECONDITION"), { kind: "refused", message: "why" }],
  [
    400,
    problem("FAILED_PRECONDITION", { reason: "STUDY_CLOSED" }),
    { kind: "closed", message: "why" },
  ],
  [401, problem("UNAUTHENTICATED"), { kind: "signed_out", message: "why" }],
  [403, problem("PERMISSION_DENIED"), { kind: "signed_out", message: "why" }],
  [429, problem("RESOURCE_EXHAUSTED"), { kind: "refused", message: "why" }],
  [413, problem("RESOURCE_EXHAUSTED"), { kind: "refused", message: "why" }],
  [503, problem("UNAVAILABLE"), { kind: "unreachable", message: "why" }],
  [502, "<html>", { kind: "unreachable", message: "the server answered 502" }],
  [404, "<html>", { kind: "unreachable", message: "the server answered 404" }],
  [413, "<html>", { kind: "unreachable", message: "the server answered 413" }],
  [408, problem("CANCELLED"), { kind: "unreachable", message: "why" }],
])("an answer of %i %o is understood", async (status, body, answer) => {
  serverAnswers(status, body);
  expect(await sendAct(ADDRESS, ACT, "3")).toEqual(answer);
});

test("an undo that was meant for a revision that never came is put on the naming as it stands", async () => {
  const naming = { revision: "2" };
  serverAnswers(400, problem("INVALID_ARGUMENT", { reason: "UNKNOWN_REVISION", naming }));
  expect(await sendAct(ADDRESS, { ...ACT, meant_for: "3" }, "3")).toEqual({
    kind: "stale",
    naming,
  });
});

test("a server that says when to ask again is asked again", async () => {
  serverAnswers(429, problem("RESOURCE_EXHAUSTED", { reason: "BUSY" }), { "Retry-After": "2" });
  expect(await sendAct(ADDRESS, ACT, "3")).toEqual({ kind: "unreachable", message: "why" });
});

test("without a network the act waits", async () => {
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
  expect(await sendAct(ADDRESS, ACT, "3")).toEqual({
    kind: "unreachable",
    message: "",
  });
});

/** Nobody at the other end: only the signal of a request ends it. */
function nobodyAnswers({ signal }: Request): Promise<Response> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
}

/** Signals go by the clock that the test sets. */
function setClock(): void {
  vi.useFakeTimers();
  vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), ms);
    return controller.signal;
  });
}

test.each([
  ["an act", nobodyAnswers],
  [
    "a naming too large for the refusal",
    async (request: Request) =>
      request.method === "GET"
        ? nobodyAnswers(request)
        : new Response(JSON.stringify(problem("ABORTED", { reason: "STALE_REVISION" })), {
            status: 409,
          }),
  ],
])("%s is waited for 20 seconds where nobody answers", async (_, fetch) => {
  setClock();
  vi.stubGlobal("fetch", fetch);
  const answer = vi.fn();
  void sendAct(ADDRESS, ACT, "3").then(answer);
  await vi.advanceTimersByTimeAsync(19_900);
  expect(answer).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(200);
  expect(answer).toHaveBeenCalledWith({ kind: "unreachable", message: "" });
});

test("an answer that breaks off is none", async () => {
  const body = new ReadableStream({
    start: (stream) => stream.error(new TypeError("network error")),
  });
  vi.stubGlobal("fetch", async () => new Response(body));
  expect(await sendAct(ADDRESS, ACT, "3")).toEqual({ kind: "unreachable", message: "" });
});

test("a naming too large for the refusal is asked for", async () => {
  const asked: string[] = [];
  vi.stubGlobal("fetch", async ({ method, url }: Request) => {
    asked.push(`${method} ${new URL(url).pathname}`);
    return method === "POST"
      ? new Response(JSON.stringify(problem("ABORTED", { reason: "STALE_REVISION" })), {
          status: 409,
        })
      : new Response(JSON.stringify({ naming: { revision: "9" } }));
  });
  expect(await sendAct(ADDRESS, ACT, "3")).toEqual({ kind: "stale", naming: { revision: "9" } });
  expect(asked).toEqual([
    "POST /api/studies/s1/annotators/a%201/acts",
    "GET /api/studies/s1/annotators/a%201/naming",
  ]);
});

test.each([
  [503, { kind: "unreachable", message: "why" }],
  [401, { kind: "signed_out", message: "why" }],
])("where that fails with %i, the act waits", async (status, answer) => {
  vi.stubGlobal("fetch", async ({ method }: Request) =>
    method === "POST"
      ? new Response(JSON.stringify(problem("ABORTED", { reason: "STALE_REVISION" })), {
          status: 409,
        })
      : new Response(JSON.stringify(problem("ANY")), { status }),
  );
  expect(await sendAct(ADDRESS, ACT, "3")).toEqual(answer);
});
