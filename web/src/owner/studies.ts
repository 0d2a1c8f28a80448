/** What the owner's pages read and change. */
import { allPages, answered, api, resultUrl } from "../api/client";
import type {
  Annotator,
  Dataset,
  Job,
  Model,
  operations,
  Role,
  Study,
  XnnSet,
} from "../api/openapi";
import { newId } from "../naming/commands";

/** What a study can be made of. */
export interface Choices {
  models: Model[];
  datasets: Dataset[];
  xnnSets: XnnSet[];
}

type Body<Name extends keyof operations> = operations[Name] extends {
  requestBody: { content: { "application/json": infer Sent } };
}
  ? Sent
  : never;

/** What is said of a study when it is made. */
export type NewStudy = Omit<Body<"naming.CreateStudy">, "request_id">;

export async function loadChoices(): Promise<Choices> {
  const [models, datasets, xnnSets] = await Promise.all([
    allPages((query) => api.GET("/api/models", { params: { query } })),
    allPages((query) => api.GET("/api/datasets", { params: { query } })),
    allPages((query) => api.GET("/api/xnn-sets", { params: { query } })),
  ]);
  return {
    models: models.flatMap((page) => page.models),
    datasets: datasets.flatMap((page) => page.datasets),
    xnnSets: xnnSets.flatMap((page) => page.xnn_sets),
  };
}

export async function loadStudies(): Promise<Study[]> {
  const pages = await allPages((query) => api.GET("/api/studies", { params: { query } }));
  return pages.flatMap(({ studies }) => studies);
}

/** Asked again for the same before it went well, a request keeps its id, so that the server does it once. */
function once<Asked extends unknown[], Answer>(
  send: (request_id: string, ...asked: Asked) => Promise<Answer>,
): (...asked: Asked) => Promise<Answer> {
  const ids = new Map<string, string>();
  return async (...asked) => {
    const content = JSON.stringify(asked);
    const id = ids.get(content) ?? newId();
    ids.set(content, id);
    const answer = await send(id, ...asked);
    ids.delete(content);
    return answer;
  };
}

export const createStudy = once(async (request_id, study: NewStudy): Promise<Study> => {
  const body = { ...study, request_id };
  return there((await answered(api.POST("/api/studies", { body }))).study, "study");
});

/** Starts drawing the study's maps. */
export const startMaps = once(async (request_id, study_id: string): Promise<Job> => {
  const request = { params: { path: { study_id } }, body: { request_id } };
  return there((await answered(api.POST("/api/studies/{study_id}/maps", request))).job, "job");
});

export async function loadMapsJob(job_id: string): Promise<Job> {
  const request = { params: { path: { job_id } } };
  return there((await answered(api.GET("/api/attribution/jobs/{job_id}", request))).job, "job");
}

/** An invitation as it was just made: its token is shown once. */
export interface Link {
  annotator: Annotator;
  token: string;
}

export const invite = once(
  async (request_id, study_id: string, display_name: string, role: Role): Promise<Link> => {
    const body = { display_name, role, request_id };
    const params = { path: { study_id } };
    const answer = await answered(api.POST("/api/studies/{study_id}/annotators", { params, body }));
    return { annotator: there(answer.annotator, "annotator"), token: answer.token };
  },
);

export async function revoke(study_id: string, annotator_id: string): Promise<undefined> {
  const params = { path: { study_id, annotator_id } };
  await answered(api.POST("/api/studies/{study_id}/annotators/{annotator_id}/revoke", { params }));
}

/** A new link for somebody invited before; the old one is worthless from then on. */
export async function renew(study_id: string, annotator_id: string): Promise<Link> {
  const params = { path: { study_id, annotator_id } };
  const answer = await answered(
    api.POST("/api/studies/{study_id}/annotators/{annotator_id}/renew", { params, body: {} }),
  );
  return { annotator: there(answer.annotator, "annotator"), token: answer.token };
}

export function progressEventsUrl(studyId: string): string {
  return resultUrl(studyId, "events");
}

/** Those who name; viewers have nothing of their own to show. */
export function namers(annotators: readonly Annotator[]): Annotator[] {
  return annotators.filter(({ role }) => role !== "ROLE_VIEWER");
}

function there<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`the server answered without the ${what}`);
  return value;
}
