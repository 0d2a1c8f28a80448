import { useLayoutEffect, useRef } from "react";
import { studyImageUrl } from "../api/client";
import { paintMap } from "../maps/colormap";
import { mapAt } from "../maps/npy";
import { usePhoto } from "../maps/photos";
import { addressNow, useNaming } from "./store";

/** An activation: the photograph, and its map as a layer of its own above it. */
export function Picture({ id, plain = false }: { id: string; plain?: boolean }) {
  const imageId = useNaming((state) => state.activations.get(id)?.imageId);
  return (
    <span className="picture">
      {imageId !== undefined && <Photo imageId={imageId} />}
      {!plain && <MapLayer id={id} />}
    </span>
  );
}

function Photo({ imageId }: { imageId: string }) {
  const src = usePhoto(studyImageUrl(addressNow(), imageId));
  return src === undefined ? null : <img src={src} alt="" draggable={false} />;
}

function MapLayer({ id }: { id: string }) {
  const index = useNaming((state) => state.activations.get(id)?.index);
  const maps = useNaming((state) => state.maps);
  const canvas = useRef<HTMLCanvasElement>(null);

  useLayoutEffect(() => {
    if (canvas.current && maps && index !== undefined) {
      paintMap(canvas.current, mapAt(maps, index), maps.height, maps.width);
    }
  }, [maps, index]);

  return <canvas ref={canvas} className="map" />;
}
