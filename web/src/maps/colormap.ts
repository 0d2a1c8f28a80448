/**
 * Colours of a map: inferno and viridis (van der Walt and Smith 2015) and cividis (Nuñez et al.
 * 2018) of matplotlib, perceptually uniform and readable with colour blindness, without their
 * darkest third; the less the value, the more the photograph shows.
 */
export type Colours = keyof typeof COLOURS;

/** Seventeen evenly spaced colours each, between which is interpolated. */
const COLOURS = {
  inferno:
    "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4",
  viridis:
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725",
  cividis:
    "00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838",
};
const DARKEST = 0.3;

/** In the order of the choice. */
export const COLOUR_WORDS: Record<Colours, string> = {
  inferno: "purple to yellow",
  viridis: "blue to yellow",
  cividis: "grey to yellow",
};

/** 256 colours each as r, g, b, a bytes. */
export const LOOKUPS: Record<Colours, Uint8ClampedArray> = {
  inferno: lookup(COLOURS.inferno),
  viridis: lookup(COLOURS.viridis),
  cividis: lookup(COLOURS.cividis),
};

function lookup(hex: string): Uint8ClampedArray {
  const colours = hex.split(" ").map((one) => Number.parseInt(one, 16));
  const table = new Uint8ClampedArray(256 * 4);
  for (let value = 0; value < 256; value++) {
    const share = value / 255;
    const at = (DARKEST + (1 - DARKEST) * share) * (colours.length - 1);
    const below = Math.min(Math.floor(at), colours.length - 2);
    const [low = 0, high = 0] = colours.slice(below);
    const mixed = [16, 8, 0].map((bits) => {
      const [from, to] = [(low >> bits) & 0xff, (high >> bits) & 0xff];
      return from + (at - below) * (to - from);
    });
    table.set([...mixed, 255 * share], 4 * value);
  }
  return table;
}
