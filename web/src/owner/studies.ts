/** What the owner's pages read and change, beside what the OpenAPI document types. */
import { annotatorPath, send } from "../api/client";
import type { Annotator, Study } from "../api/openapi";
import { newId } from "../naming/commands";

export type Role = "ROLE_ANNOTATOR" | "ROLE_VIEWER";
export type LinkState =
  | "LINK_STATE_GOOD"
  | "LINK_STATE_EXPIRED"
  | "LINK_STATE_REVOKED"
  | "LINK_STATE_NONE";

/** An annotator with what servers say of the link, where they do. */
export type Invited = Annotator & { role?: string; link_state?: string; link_expiry?: string };

export interface Choices {
  models: { name: string; classes: string[] }[];
  datasets: { name: string; classes: string[]; train_counts: number[]; test_counts: number[] }[];
  xnnSets: { name: string; model: string; dataset: string }[];
}

export interface NewStudy {
  name: string;
  model: string;
  dataset: string;
  part: "DATASET_PART_TEST" | "DATASET_PART_TRAIN";
  xnn_set: string;
  categories: string[];
  settings: Record<string, number | boolean | string>;
}

export interface Job {
  job_id: string;
  state: string;
  stage: string;
  done: string;
  total: string;
  rate_per_s: number;
  error: string;
}

/** What a study can be made of. */
export async function loadChoices(): Promise<Choices> {
  const [{ models }, { datasets }, { xnn_sets }] = await Promise.all([
    send<{ models: Choices["models"] }>("GET", "/api/models"),
    send<{ datasets: Choices["datasets"] }>("GET", "/api/datasets"),
    send<{ xnn_sets: Choices["xnnSets"] }>("GET", "/api/xnn-sets"),
  ]);
  return { models, datasets, xnnSets: xnn_sets };
}

export async function createStudy(study: NewStudy): Promise<Study> {
  const answer = await send<{ study: Study }>("POST", "/api/studies", {
    ...study,
    request_id: newId(),
  });
  return answer.study;
}

const studyPath = (studyId: string) => `/api/studies/${encodeURIComponent(studyId)}`;

/** Starts drawing the study's maps. */
export async function startMaps(studyId: string): Promise<Job> {
  const answer = await send<{ job: Job }>("POST", `${studyPath(studyId)}/maps`, {
    request_id: newId(),
  });
  return answer.job;
}

export async function loadMapsJob(jobId: string): Promise<Job | undefined> {
  const { jobs } = await send<{ jobs: Job[] }>("GET", "/api/attribution/jobs");
  return jobs.find(({ job_id }) => job_id === jobId);
}

export interface Link {
  annotator: Annotator;
  token: string;
}

export function invite(studyId: string, display_name: string, role: Role): Promise<Link> {
  const body = { display_name, request_id: newId(), ...(role === "ROLE_VIEWER" ? { role } : {}) };
  return send("POST", `${studyPath(studyId)}/annotators`, body);
}

export function revoke(study_id: string, annotator_id: string): Promise<unknown> {
  return send("POST", `${annotatorPath({ study_id, annotator_id })}/revoke`, {});
}

/** A new link for somebody invited before; the old one is worthless from then on. */
export function renew(study_id: string, annotator_id: string): Promise<Link> {
  return send("POST", `${annotatorPath({ study_id, annotator_id })}/renew`, {});
}

export function progressEventsUrl(studyId: string): string {
  return `${studyPath(studyId)}/events`;
}
