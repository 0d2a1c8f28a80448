/**
 * Maps as small pictures: PNG with one byte a cell and the colours of colormap.ts as palette.
 * (A canvas a tile would be a layer of its own for the browser, and a hundred layers are slow.)
 */
import { type Colours, LOOKUPS } from "./colormap";
import { dataUrl } from "./dataUrl";

/** A screenful of maps is written within a frame: what a byte does to the sum is worked out once. */
const CRC_OF_BYTE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});
const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const END = chunk("IEND", new Uint8Array());
const PALETTES: Record<Colours, Uint8Array> = {
  inferno: palette(LOOKUPS.inferno),
  viridis: palette(LOOKUPS.viridis),
  cividis: palette(LOOKUPS.cividis),
};
const LARGEST_BLOCK = 65_535;

/** An address that shows these values, row by row, in colours. */
export function mapUrl(
  values: Uint8Array,
  height: number,
  width: number,
  colours: Colours,
): string {
  return dataUrl(pngOf(values, height, width, colours), "image/png");
}

export function pngOf(
  values: Uint8Array,
  height: number,
  width: number,
  colours: Colours,
): Uint8Array {
  const header = new Uint8Array(13);
  const fields = new DataView(header.buffer);
  fields.setUint32(0, width);
  fields.setUint32(4, height);
  // 8 bits a cell, indexed colour.
  header.set([8, 3], 8);
  // Each row starts with the number of its filter: none.
  const rows = new Uint8Array(height * (width + 1));
  for (let row = 0; row < height; row++) {
    rows.set(values.subarray(row * width, (row + 1) * width), row * (width + 1) + 1);
  }
  return joined([
    SIGNATURE,
    chunk("IHDR", header),
    PALETTES[colours],
    chunk("IDAT", stored(rows)),
    END,
  ]);
}

/** The chunks that hold the colours and how much each hides. */
function palette(lookup: Uint8ClampedArray): Uint8Array {
  const colours = new Uint8Array(256 * 3);
  const alphas = new Uint8Array(256);
  for (let value = 0; value < 256; value++) {
    colours.set(lookup.subarray(4 * value, 4 * value + 3), 3 * value);
    alphas[value] = lookup[4 * value + 3] ?? 0;
  }
  return joined([chunk("PLTE", colours), chunk("tRNS", alphas)]);
}

/** A zlib stream that holds the bytes as they are. */
function stored(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(0x78, 0x01)];
  for (let from = 0; from < bytes.length; from += LARGEST_BLOCK) {
    const block = bytes.subarray(from, from + LARGEST_BLOCK);
    const head = new DataView(new ArrayBuffer(5));
    head.setUint8(0, from + LARGEST_BLOCK >= bytes.length ? 1 : 0);
    head.setUint16(1, block.length, true);
    head.setUint16(3, ~block.length, true);
    parts.push(new Uint8Array(head.buffer), block);
  }
  return joined([...parts, word(adler32(bytes))]);
}

function chunk(name: string, data: Uint8Array): Uint8Array {
  const named = joined([Uint8Array.from(name, (letter) => letter.charCodeAt(0)), data]);
  return joined([word(data.length), named, word(crc32(named))]);
}

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function joined(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (CRC_OF_BYTE[(crc ^ byte) & 255] ?? 0);
  return ~crc >>> 0;
}

function adler32(bytes: Uint8Array): number {
  let [a, b] = [1, 0];
  for (const byte of bytes) {
    a = (a + byte) % 65_521;
    b = (b + a) % 65_521;
  }
  return ((b << 16) | a) >>> 0;
}
