/** This browser's storage. Some browsers let pages store nothing, and any may be full. */

/** What is stored under a key; null where nothing is, or nothing can be. */
export function stored(key: string): string | null {
  return orElse(null, () => localStorage.getItem(key));
}

export function storedKeys(): string[] {
  return orElse([], () => Object.keys(localStorage));
}

/** Stores a value, or with null takes it away; false where that cannot be. */
export function store(key: string, value: string | null): boolean {
  return orElse(false, () => {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
    return true;
  });
}

function orElse<T>(instead: T, reach: () => T): T {
  try {
    return reach();
  } catch (error) {
    if (error instanceof DOMException) return instead;
    throw error;
  }
}
