/** What the naming page reads from the gateway. */
import { type Maps, readMaps } from "../maps/npy";
import {
  ApiError,
  annotatorPath,
  answered,
  api,
  askWithin,
  LONG_WORK_MS,
  type NamingAddress,
  NoAnswerError,
} from "./client";
import type { AcceptInvitationResponse, Annotator, Naming, Study } from "./openapi";

export interface Activation {
  id: string;
  imageId: string;
  share: number;
  /** Its map is map `index` of the category. */
  index: number;
}

export interface Activations {
  activations: ReadonlyMap<string, Activation>;
  /** Names the maps that belong to exactly these activations. */
  version: string;
}

export interface Invitation {
  study: Study;
  annotator: Annotator;
  /** Whether they may read the results. */
  seesOthers: boolean;
}

/** Turns a link's token into this browser's cookie for its annotator. */
export async function acceptInvitation(token: string): Promise<Invitation> {
  return whole(await answered(api.POST("/api/invitations", { body: { token } })));
}

/** The study and annotator of a link that this browser has accepted before. */
export async function loadInvitation(study_id: string, annotator_id: string): Promise<Invitation> {
  const path = { study_id, annotator_id };
  return whole(
    await answered(
      api.GET("/api/studies/{study_id}/annotators/{annotator_id}", { params: { path } }),
    ),
  );
}

export async function loadActivations({ category, ...path }: NamingAddress): Promise<Activations> {
  const result = await api.GET("/api/studies/{study_id}/annotators/{annotator_id}/activations", {
    params: { path, query: { category } },
    fetch: askWithin(LONG_WORK_MS),
  });
  const columns = await answered(Promise.resolve(result));
  const rows = columns.activation_id.map((id, index): [string, Activation] => [
    id,
    { id, imageId: columns.image_id[index] ?? "", share: columns.share[index] ?? 0, index },
  ]);
  const version =
    result.response.headers.get("ETag")?.replace(/^W\//, "").replaceAll('"', "") ?? "";
  return { activations: new Map(rows), version };
}

/** Where the maps of a category are; all of them, or those of these activations. */
interface MapsAddress extends NamingAddress {
  version: string;
  activation_id?: string[];
}

async function askForMaps(
  { category, version, activation_id, ...path }: MapsAddress,
  init: Pick<RequestInit, "cache" | "mode"> = {},
): Promise<Maps> {
  const bytes: unknown = await answered(
    api.GET("/api/studies/{study_id}/annotators/{annotator_id}/maps", {
      params: { path, query: { category, version, ...(activation_id ? { activation_id } : {}) } },
      parseAs: "arrayBuffer",
      fetch: askWithin(LONG_WORK_MS),
      ...init,
    }),
  );
  return readMaps(bytes as ArrayBuffer);
}

/** The maps of all activations of the category. */
export function loadMaps(address: NamingAddress, version: string): Promise<Maps> {
  return askForMaps({ ...address, version });
}

/** The same, where this browser holds them from an earlier visit; nobody is asked. */
export async function heldMaps(address: NamingAddress, version: string): Promise<Maps | null> {
  try {
    return await askForMaps(
      { ...address, version },
      { cache: "only-if-cached", mode: "same-origin" },
    );
  } catch (error) {
    if (error instanceof NoAnswerError || error instanceof ApiError) return null;
    throw error;
  }
}

/** The maps of these activations alone, as many as an address holds. */
export async function loadSomeMaps(
  address: NamingAddress,
  version: string,
  some: readonly Activation[],
): Promise<Maps> {
  const activation_id = some.map(({ id }) => id);
  const maps = await askForMaps({ ...address, version, activation_id });
  return { ...maps, places: new Map(some.map(({ index }, place) => [index, place])) };
}

export async function loadNaming(
  { category, ...path }: NamingAddress,
  signal: AbortSignal | null = null,
): Promise<Naming> {
  const { naming } = await answered(
    api.GET("/api/studies/{study_id}/annotators/{annotator_id}/naming", {
      params: { path, query: { category } },
      signal,
    }),
  );
  if (!naming) throw new Error("the server answered without a naming");
  return naming;
}

/** All activations of the category, those most like the given ones first. */
export async function loadSimilar(
  { category, ...path }: NamingAddress,
  activation_ids: string[],
): Promise<string[]> {
  const answer = await answered(
    api.POST("/api/studies/{study_id}/annotators/{annotator_id}/similarity", {
      params: { path },
      body: { category, activation_ids },
    }),
  );
  return answer.activation_ids;
}

/** Where the namings of a category are streamed. */
export function namingEventsUrl({ category, ...path }: NamingAddress): string {
  return `${annotatorPath(path)}/naming/events?${new URLSearchParams({ category })}`;
}

function whole({ study, annotator, sees_others }: AcceptInvitationResponse): Invitation {
  if (!study || !annotator) throw new Error("the server answered without study and annotator");
  return { study, annotator, seesOthers: sees_others };
}
