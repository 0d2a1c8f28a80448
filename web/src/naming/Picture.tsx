import { useEffect, useRef } from "react";
import { studyImageUrl } from "../api/client";
import { paintMap } from "../maps/colormap";
import { mapAt } from "../maps/npy";
import { addressNow, useNaming } from "./store";

/** An activation: the photograph, and its map as a layer of its own above it. */
export function Picture({ id, plain = false }: { id: string; plain?: boolean }) {
  const activation = useNaming((state) => state.activations.get(id));
  const maps = useNaming((state) => state.maps);
  const canvas = useRef<HTMLCanvasElement>(null);
  const index = activation?.index;

  useEffect(() => {
    if (canvas.current && maps && index !== undefined) {
      paintMap(canvas.current, mapAt(maps, index), maps.height, maps.width);
    }
  }, [maps, index]);

  if (!activation) return null;
  return (
    <span className="picture">
      <img
        src={studyImageUrl(addressNow(), activation.imageId)}
        alt=""
        draggable={false}
        decoding="async"
      />
      {!plain && <canvas ref={canvas} className="map" />}
    </span>
  );
}
