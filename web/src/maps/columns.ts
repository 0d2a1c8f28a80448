/** Maps as the services send them in JSON: float16 in base64, n x height x width. */
import type { MapColumns } from "../api/openapi";
import type { Maps } from "./npy";

/** Each map stretched from its own minimum (0) to its own maximum (255), as the gateway does for annotators. */
export function stretched({ activation_id, height, width, values }: MapColumns): Maps {
  const halves = halvesOf(values);
  const count = activation_id.length;
  const cells = height * width;
  if (halves.length !== count * cells) {
    throw new Error(`the maps end early: ${halves.length} of ${count * cells} values`);
  }
  const bytes = new Uint8Array(halves.length);
  for (let map = 0; map < count; map++) {
    const floats = Array.from(halves.subarray(map * cells, (map + 1) * cells), floatOf);
    const low = Math.min(...floats);
    const span = Math.max(...floats) - low || 1;
    bytes.set(
      floats.map((value) => Math.round((255 * (value - low)) / span)),
      map * cells,
    );
  }
  return { count, height, width, values: bytes };
}

function halvesOf(base64: string): Uint16Array {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, at) => view.getUint16(2 * at, true));
}

/** The value of an IEEE 754 half; infinities and NaN, which no map should hold, count as 0. */
function floatOf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return 0;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
