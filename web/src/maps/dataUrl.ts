/** Addresses that hold what they show. */

const AT_ONCE = 8192;

/**
 * An address that shows these bytes. Other than for a blob, which the browser is asked for one
 * by one while the page stands still, nothing is waited for.
 */
export function dataUrl(bytes: Uint8Array, mediaType: string): string {
  let text = "";
  // A function takes some ten thousand arguments, not a picture's bytes.
  for (let from = 0; from < bytes.length; from += AT_ONCE) {
    text += String.fromCharCode(...bytes.subarray(from, from + AT_ONCE));
  }
  return `data:${mediaType};base64,${btoa(text)}`;
}
