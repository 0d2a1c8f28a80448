import { memo, useMemo } from "react";
import { studyImageUrl } from "../api/client";
import type { Activation } from "../api/naming";
import { mapAt } from "../maps/npy";
import { usePhoto } from "../maps/photos";
import { mapUrl } from "../maps/png";
import { addressNow, useNaming } from "./store";

interface PictureProps {
  id: string;
  plain?: boolean;
  /** What it shows, where nothing beside it says so. */
  alt?: string;
}

/**
 * An activation: the photograph, and its map as a layer of its own above it. It stays as it is where its tile only moves,
 * as all do when others leave.
 */
export const Picture = memo(function Picture({ id, plain = false, alt = "" }: PictureProps) {
  const activation = useNaming((state) => state.activations.get(id));
  return (
    <span className="picture">
      {activation && <Layers activation={activation} plain={plain} alt={alt} />}
    </span>
  );
});

function Layers({
  activation,
  plain,
  alt,
}: {
  activation: Activation;
  plain: boolean;
  alt: string;
}) {
  const { imageId, index } = activation;
  const photo = usePhoto(studyImageUrl(addressNow(), imageId));
  const maps = useNaming((state) => state.maps);
  const colours = useNaming((state) => state.colours);
  const map = useMemo(() => {
    const values = plain || !maps ? null : mapAt(maps, index);
    return maps && values ? mapUrl(values, maps.height, maps.width, colours) : null;
  }, [plain, maps, index, colours]);
  return (
    <>
      {photo !== undefined && <img className="photo" src={photo} alt={alt} draggable={false} />}
      {map !== null && <img className="map" src={map} alt="" draggable={false} decoding="sync" />}
    </>
  );
}
