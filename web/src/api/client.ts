/** Calls of the gateway, with the types of its OpenAPI document. */
import createClient from "openapi-fetch";
import type { Problem, paths } from "./openapi";

/** Nobody answered: no network, or no server. */
export class NoAnswerError extends Error {}

/** Where no answer begins for so long, nobody is at the connection's other end. */
const LONGEST_WAIT_MS = 30_000;
/** The same of what the server may have to work out or fetch first. */
export const LONG_WORK_MS = 70_000;
/** What has not come to its end by then has broken off; maps of many thousand examples take a slow network a while. */
const LONGEST_ANSWER_MS = 300_000;

/**
 * Asks, and gives up where no answer has begun after so long. Connections that nobody gives up hold all that a browser
 * has to a server, and acts would wait for one.
 */
export function askWithin(waitMs: number): (request: Request) => Promise<Response> {
  return async (request) => {
    const gone = new AbortController();
    const giveUp = () => gone.abort();
    const timer = setTimeout(giveUp, waitMs);
    request.signal.addEventListener("abort", giveUp);
    try {
      const response = await fetch(request, { signal: gone.signal });
      setTimeout(giveUp, LONGEST_ANSWER_MS);
      return response;
    } catch (cause) {
      throw new NoAnswerError("The server does not answer.", { cause });
    } finally {
      clearTimeout(timer);
    }
  };
}

export const api = createClient<paths>({
  baseUrl: location.origin,
  // The gateway takes nothing else, so that pages of other sites cannot make a browser act; also without a body.
  headers: { "Content-Type": "application/json" },
  fetch: askWithin(LONGEST_WAIT_MS),
});

/** The gateway answered with a problem. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
    /** Whether the same request may go well later. */
    readonly isPassing: boolean,
  ) {
    super(problem.message);
  }
}

interface Result<T> {
  data?: T | undefined;
  error?: Problem | undefined;
  response: Response;
}

/** The data of a call; throws ApiError for a problem, NoAnswerError where nobody answers, or not to the end. */
export async function answered<T>(call: Promise<Result<T>>): Promise<T> {
  const { data, error, response } = await call.catch(brokenOff);
  if (data === undefined || !response.ok)
    throw new ApiError(response.status, problemOf(error, response), mayPass(error, response));
  return data;
}

/** All pages of a list, each asked for by the token that the one before has left. */
export async function allPages<Page extends { next_page_token: string }>(
  ask: (query: { page_token?: string }) => Promise<Result<Page>>,
): Promise<Page[]> {
  const pages = [await answered(ask({}))];
  for (let token = pages[0]?.next_page_token; token; token = pages.at(-1)?.next_page_token)
    pages.push(await answered(ask({ page_token: token })));
  return pages;
}

function brokenOff(cause: unknown): never {
  if (cause instanceof NoAnswerError) throw cause;
  throw new NoAnswerError("The server's answer broke off.", { cause });
}

/** Too slow, too early, broken off: none says that the request is wrong. */
const PASSING = [408, 425, 499];

/** Whether the same request may go well later; what is not the gateway's own word says nothing against it. */
function mayPass(error: Problem | undefined, { status, headers }: Response): boolean {
  return !error?.code || status >= 500 || PASSING.includes(status) || headers.has("Retry-After");
}

/** An answer that is no problem JSON comes from something between page and gateway. */
function problemOf(error: Problem | undefined, response: Response): Problem {
  if (error?.code) return error;
  const message = `the server answered ${response.status}`;
  return { code: "UNKNOWN", message, reason: "", request_id: "" };
}

/** One line for people about anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whose naming of what. */
export interface NamingAddress {
  study_id: string;
  annotator_id: string;
  category: string;
}

/** Path of an annotator's routes. */
export function annotatorPath(address: Omit<NamingAddress, "category">): string {
  const [study, annotator] = [address.study_id, address.annotator_id].map(encodeURIComponent);
  return `/api/studies/${study}/annotators/${annotator}`;
}

/** Where the picture that the network saw lies. */
export function studyImageUrl(address: Omit<NamingAddress, "category">, imageId: string): string {
  return `${annotatorPath(address)}/images/${imageId}`;
}

export function resultImageUrl(studyId: string, imageId: string): string {
  return resultUrl(studyId, `images/${imageId}`);
}

export function resultUrl(studyId: string, file: string): string {
  return `/api/studies/${encodeURIComponent(studyId)}/${file}`;
}
