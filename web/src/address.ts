/** Which page the address bar names. */
export type Address =
  | { page: "studies" }
  | { page: "study"; studyId: string }
  | { page: "invitation"; token: string }
  | { page: "naming"; studyId: string; annotatorId: string; category: string | null }
  | { page: "unknown" };

export function addressOf({
  pathname,
  search,
  hash,
}: Pick<Location, "pathname" | "search" | "hash">): Address {
  const [first = "", second, third, ...rest] = pathname.split("/").slice(1).map(decoded);
  if (first === "" && second === undefined) return { page: "studies" };
  if (first === "studies" && second && third === undefined)
    return { page: "study", studyId: second };
  if (first === "name" && second === undefined && hash.length > 1) {
    return { page: "invitation", token: decoded(hash.slice(1)) };
  }
  if (first === "name" && second && third && rest.length === 0) {
    const category = new URLSearchParams(search).get("category");
    return { page: "naming", studyId: second, annotatorId: third, category };
  }
  return { page: "unknown" };
}

/** What was cut off in the middle of an escape stays as it is: whoever knows it says that it is nothing. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The link of an invitation. The token is behind '#', so that it reaches no server's log. */
export function invitationLink(origin: string, token: string): string {
  return `${origin}/name#${encodeURIComponent(token)}`;
}

export function namingPath(studyId: string, annotatorId: string): string {
  return `/name/${encodeURIComponent(studyId)}/${encodeURIComponent(annotatorId)}`;
}

export function studyPath(studyId: string): string {
  return `/studies/${encodeURIComponent(studyId)}`;
}
