/** What this browser remembers of how its user likes the page, and where each category stood. */
import { type Colours, LOOKUPS } from "../maps/colormap";
import { store, stored } from "../storage";
import type { Place } from "./store";

export interface Preferences {
  tileSize: number;
  opacity: number;
  /** Of the maps. */
  colours: Colours;
  /** Whether keys without Ctrl do something; off for those who speak to their computer. */
  singleKeys: boolean;
}

/** Where a category was left. */
export interface Stand {
  place: Place;
  cursor: string | null;
}

export interface Stands {
  last: string | null;
  categories: Record<string, Stand>;
}

const PREFERENCES_KEY = "onoma/preferences";
const DEFAULTS: Preferences = { tileSize: 112, opacity: 85, colours: "inferno", singleKeys: true };

export function loadPreferences(): Preferences {
  const found = { ...DEFAULTS, ...read<Preferences>(PREFERENCES_KEY) };
  return found.colours in LOOKUPS ? found : { ...found, colours: DEFAULTS.colours };
}

export function savePreferences({ tileSize, opacity, colours, singleKeys }: Preferences): void {
  write(PREFERENCES_KEY, { tileSize, opacity, colours, singleKeys });
}

export function loadStands(studyId: string, annotatorId: string): Stands {
  return { last: null, categories: {}, ...read<Stands>(standsKey(studyId, annotatorId)) };
}

export function saveStand(
  studyId: string,
  annotatorId: string,
  category: string,
  stand: Stand,
): void {
  const { categories } = loadStands(studyId, annotatorId);
  const stands: Stands = { last: category, categories: { ...categories, [category]: stand } };
  write(standsKey(studyId, annotatorId), stands);
}

const standsKey = (studyId: string, annotatorId: string) =>
  `onoma/stands/${JSON.stringify([studyId, annotatorId])}`;

/** Nothing of the work is kept here, so what cannot be read counts as not there. */
function read<T>(key: string): Partial<T> {
  try {
    const value: unknown = JSON.parse(stored(key) ?? "{}");
    return typeof value === "object" && value !== null ? (value as Partial<T>) : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

/** A full storage belongs to the acts that wait. */
function write(key: string, value: unknown): void {
  store(key, JSON.stringify(value));
}
