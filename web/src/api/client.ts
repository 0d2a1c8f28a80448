/** Calls of the gateway, with the types of its OpenAPI document. */
import createClient from "openapi-fetch";
import type { Answer, PendingAct } from "../naming/queue";
import type { Command, Problem, paths } from "./openapi";

/** Nobody answered: no network, or no server. */
export class NoAnswerError extends Error {}

export const api = createClient<paths>({
  baseUrl: location.origin,
  fetch: async (request) => {
    try {
      return await fetch(request);
    } catch (cause) {
      throw new NoAnswerError("The server does not answer.", { cause });
    }
  },
});

/** The gateway answered with a problem. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
  ) {
    super(problem.message);
  }
}

interface Result<T> {
  data?: T | undefined;
  error?: Problem | undefined;
  response: Response;
}

/** The data of a call; throws ApiError for a problem, NoAnswerError where nobody answers. */
export async function answered<T>(call: Promise<Result<T>>): Promise<T> {
  const { data, error, response } = await call;
  if (data === undefined || !response.ok)
    throw new ApiError(response.status, problemOf(error, response));
  return data;
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

/** Sends one act; never throws for what a network or server can do. */
export async function sendAct(
  { category, ...path }: NamingAddress,
  { request_id, command }: PendingAct,
  base_revision: string,
): Promise<Answer> {
  try {
    const { naming } = await answered(
      api.POST("/api/studies/{study_id}/annotators/{annotator_id}/acts", {
        params: { path },
        body: { category, request_id, base_revision, command: command as Command },
      }),
    );
    if (!naming) return { kind: "unreachable", message: "the server answered without a naming" };
    return { kind: "done", naming };
  } catch (error) {
    if (error instanceof ApiError) return answerOf(error);
    if (error instanceof NoAnswerError) return { kind: "unreachable", message: "" };
    throw error;
  }
}

function answerOf({ status, problem }: ApiError): Answer {
  if (problem.code === "ABORTED" && problem.naming)
    return { kind: "stale", naming: problem.naming };
  if (status === 401 || status === 403) return { kind: "signed_out", message: problem.message };
  if (status >= 500 || status === 429) return { kind: "unreachable", message: problem.message };
  return { kind: "refused", message: problem.message };
}

/** Calls a route by its path; the same errors as `answered`. */
export async function send<T>(method: "GET" | "POST", path: string, body?: unknown): Promise<T> {
  const response = await fetch(path, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
  }).catch((cause: unknown) => {
    throw new NoAnswerError("The server does not answer.", { cause });
  });
  const content: unknown = await response.json().catch(() => undefined);
  if (!response.ok || content === undefined) {
    throw new ApiError(response.status, problemOf(content as Problem | undefined, response));
  }
  return content as T;
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
