/**
 * Colours of a map: inferno of matplotlib (van der Walt and Smith 2015), perceptually
 * uniform and readable with colour blindness, without its darkest third; the less the
 * value, the more the photograph shows.
 */
const INFERNO = [
  [0.0, 0, 0, 4],
  [0.125, 31, 12, 72],
  [0.25, 85, 15, 109],
  [0.375, 136, 34, 106],
  [0.5, 186, 54, 85],
  [0.625, 227, 89, 51],
  [0.75, 249, 140, 10],
  [0.875, 249, 201, 50],
  [1.0, 252, 255, 164],
] as const;
const DARKEST = 0.3;

/** 256 colours as r, g, b, a bytes. */
export const LOOKUP: Uint8ClampedArray = lookup();

function lookup(): Uint8ClampedArray {
  const table = new Uint8ClampedArray(256 * 4);
  for (let value = 0; value < 256; value++) {
    const share = value / 255;
    table.set([...inferno(DARKEST + (1 - DARKEST) * share), 255 * share], 4 * value);
  }
  return table;
}

function inferno(at: number): [number, number, number] {
  const upper = Math.max(
    1,
    INFERNO.findIndex(([position]) => position >= at),
  );
  const [p0, ...low] = INFERNO[upper - 1] ?? INFERNO[0];
  const [p1, ...high] = INFERNO[upper] ?? INFERNO[8];
  const mix = (at - p0) / (p1 - p0);
  const blend = (channel: 0 | 1 | 2) => low[channel] + mix * (high[channel] - low[channel]);
  return [blend(0), blend(1), blend(2)];
}
