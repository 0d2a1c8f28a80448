/** The maps of a category: n x height x width unsigned bytes, as a .npy file of version 1.0. */

export interface Maps {
  count: number;
  height: number;
  width: number;
  values: Uint8Array;
  /** Where these are some of the category's only: which of them is at which place. */
  places?: ReadonlyMap<number, number>;
}

const MAGIC = "\x93NUMPY";
const HEADER_START = 10;

/** Throws where the bytes are something else. */
export function readMaps(buffer: ArrayBuffer): Maps {
  const start = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, HEADER_START));
  if (String.fromCharCode(...start.subarray(0, MAGIC.length)) !== MAGIC) {
    throw new Error("the maps are not a .npy file");
  }
  const headerLength = new DataView(buffer).getUint16(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, HEADER_START, headerLength));
  const shape = /'shape': \((\d+), (\d+), (\d+)\)/.exec(header)?.slice(1).map(Number);
  if (!shape || !header.includes("'|u1'") || !header.includes("'fortran_order': False")) {
    throw new Error(`the maps have another layout than expected: ${header}`);
  }
  const [count = 0, height = 0, width = 0] = shape;
  const values = new Uint8Array(buffer, HEADER_START + headerLength);
  if (values.length !== count * height * width) {
    throw new Error(`the maps end early: ${values.length} of ${count * height * width} bytes`);
  }
  return { count, height, width, values };
}

/** Values of map `index` of the category, row by row; nothing where it is not here. */
export function mapAt({ height, width, values, places }: Maps, index: number): Uint8Array | null {
  const place = places ? places.get(index) : index;
  if (place === undefined) return null;
  return values.subarray(place * height * width, (place + 1) * height * width);
}
