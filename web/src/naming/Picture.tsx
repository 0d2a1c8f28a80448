import { memo, useMemo } from "react";
import { studyImageUrl } from "../api/client";
import { mapAt } from "../maps/npy";
import { usePhoto } from "../maps/photos";
import { mapUrl } from "../maps/png";
import { addressNow, useNaming } from "./store";

interface PictureProps {
  id: string;
  plain?: boolean;
}

/**
 * An activation: the photograph, and its map as a layer of its own above it. It stays as it is where its tile only moves,
 * as all do when others leave.
 */
export const Picture = memo(function Picture({ id, plain = false }: PictureProps) {
  const imageId = useNaming((state) => state.activations.get(id)?.imageId);
  return (
    <span className="picture">
      {imageId !== undefined && <Photo imageId={imageId} />}
      {!plain && <MapLayer id={id} />}
    </span>
  );
});

function Photo({ imageId }: { imageId: string }) {
  const src = usePhoto(studyImageUrl(addressNow(), imageId));
  return src === undefined ? null : <img className="photo" src={src} alt="" draggable={false} />;
}

function MapLayer({ id }: { id: string }) {
  const index = useNaming((state) => state.activations.get(id)?.index);
  const maps = useNaming((state) => state.maps);
  const colours = useNaming((state) => state.colours);
  const src = useMemo(() => {
    const values = maps && index !== undefined ? mapAt(maps, index) : null;
    return maps && values ? mapUrl(values, maps.height, maps.width, colours) : null;
  }, [maps, index, colours]);
  if (src === null) return null;
  return (
    <>
      <span className="scrim" />
      <img className="map" src={src} alt="" draggable={false} decoding="sync" />
    </>
  );
}
