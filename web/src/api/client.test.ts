import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { askWithin, NoAnswerError } from "./client";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const REQUEST = new Request("http://onoma.test/api/studies");

/** A server that answers with a stream that the test feeds, and drops it when it is given up. */
function streaming() {
  let feed: ReadableStreamDefaultController<Uint8Array> | undefined;
  vi.stubGlobal("fetch", async (_: Request, { signal }: { signal: AbortSignal }) => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        feed = controller;
        signal.addEventListener("abort", () => controller.error(signal.reason));
      },
    });
    return new Response(body);
  });
  return (text: string) => feed?.enqueue(new TextEncoder().encode(text));
}

test("a connection on which nobody answers is given up", async () => {
  vi.stubGlobal(
    "fetch",
    (_: Request, { signal }: { signal: AbortSignal }) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason)),
      ),
  );
  const answer = askWithin(1000)(REQUEST);
  const refused = expect(answer).rejects.toBeInstanceOf(NoAnswerError);
  await vi.advanceTimersByTimeAsync(1000);
  await refused;
});

test("so is an answer that never ends, and one that only takes its time is not", async () => {
  const feed = streaming();
  const response = await askWithin(1000)(REQUEST);
  const reader = response.body?.getReader();
  await vi.advanceTimersByTimeAsync(200_000);
  feed("slow");
  const { value } = (await reader?.read()) ?? {};
  expect(new TextDecoder().decode(value)).toBe("slow");
  const refused = expect(reader?.read()).rejects.toThrow();
  await vi.advanceTimersByTimeAsync(100_000);
  await refused;
});
