import { expect, test } from "vitest";
import { dataUrl } from "./dataUrl";

test("an address holds every byte, however many there are", () => {
  const bytes = Uint8Array.from({ length: 20_001 }, (_, at) => at % 256);
  const [head, body = ""] = dataUrl(bytes, "image/jpeg").split(",");
  expect(head).toBe("data:image/jpeg;base64");
  expect(atob(body)).toHaveLength(bytes.length);
  expect(Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0))).toEqual(bytes);
});

test("the browser's own way is taken where it has one", () => {
  Uint8Array.prototype.toBase64 = () => "of the browser";
  try {
    expect(dataUrl(Uint8Array.of(1, 2, 3), "image/png")).toBe(
      "data:image/png;base64,of the browser",
    );
  } finally {
    delete Uint8Array.prototype.toBase64;
  }
});
