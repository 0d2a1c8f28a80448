import { crc32, inflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { pngOf } from "./png";

/** Name and content of each chunk; checks the sums. */
function chunksOf(png: Uint8Array): Map<string, Uint8Array> {
  const view = new DataView(png.buffer);
  const chunks = new Map<string, Uint8Array>();
  for (let at = 8; at < png.length; ) {
    const length = view.getUint32(at);
    const named = png.subarray(at + 4, at + 8 + length);
    expect(view.getUint32(at + 8 + length)).toBe(crc32(named));
    chunks.set(String.fromCharCode(...named.subarray(0, 4)), named.subarray(4));
    at += 12 + length;
  }
  return chunks;
}

test("a map is a PNG with its values as indices into the colours", () => {
  const chunks = chunksOf(pngOf(Uint8Array.of(0, 1, 2, 253, 254, 255), 2, 3, "viridis"));
  expect([...chunks.keys()]).toEqual(["IHDR", "PLTE", "tRNS", "IDAT", "IEND"]);
  const rows = inflateSync(chunks.get("IDAT") ?? new Uint8Array());
  expect([...rows]).toEqual([0, 0, 1, 2, 0, 253, 254, 255]);
  expect([...(chunks.get("PLTE")?.subarray(-3) ?? [])]).toEqual([0xfd, 0xe7, 0x25]);
  expect(chunks.get("tRNS")?.[0]).toBe(0);
  expect(chunks.get("tRNS")?.[255]).toBe(255);
});

test("a map of 512 by 512 cells is stored in several blocks", () => {
  const values = Uint8Array.from({ length: 512 * 512 }, (_, at) => at % 251);
  const rows = inflateSync(
    chunksOf(pngOf(values, 512, 512, "inferno")).get("IDAT") ?? new Uint8Array(),
  );
  expect(rows.length).toBe(512 * 513);
  expect(rows[513 * 511 + 512]).toBe((512 * 512 - 1) % 251);
});
