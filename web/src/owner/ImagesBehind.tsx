import { useCallback, useMemo, useState } from "react";
import { answered, api, askWithin, LONG_WORK_MS, resultImageUrl } from "../api/client";
import { Failure } from "../Failure";
import { stretched } from "../maps/columns";
import { type Maps, mapAt } from "../maps/npy";
import { mapUrl } from "../maps/png";
import { loadPreferences } from "../naming/preferences";
import { useLoaded } from "./useLoaded";
import { percent } from "./words";

const IMAGES_A_PAGE = 12;

interface Whose {
  studyId: string;
  annotatorId: string;
  category: string;
}

/** The images behind an explanation: each with the maps that make it up, a page at a time. */
export function ImagesBehind({ imageIds, ...whose }: Whose & { imageIds: string[] }) {
  const [page, setPage] = useState(0);
  const from = page * IMAGES_A_PAGE;
  const to = Math.min(from + IMAGES_A_PAGE, imageIds.length);
  return (
    <div className="images-behind">
      {imageIds.slice(from, to).map((id) => (
        <Explained key={id} imageId={id} {...whose} />
      ))}
      {imageIds.length > IMAGES_A_PAGE && (
        <p className="choices">
          <button type="button" disabled={page === 0} onClick={() => setPage(page - 1)}>
            ‹ Before
          </button>
          <span>
            {from + 1} to {to} of {imageIds.length} images
          </span>
          <button type="button" disabled={to === imageIds.length} onClick={() => setPage(page + 1)}>
            After ›
          </button>
        </p>
      )}
    </div>
  );
}

/** One image as the network saw it, and beside it once for each thing that the network looked at. */
function Explained({ imageId, studyId, annotatorId, category }: Whose & { imageId: string }) {
  const load = useCallback(
    () =>
      answered(
        api.GET("/api/studies/{study_id}/annotators/{annotator_id}/explanation", {
          params: {
            path: { study_id: studyId, annotator_id: annotatorId },
            query: { image_id: imageId, category },
          },
          fetch: askWithin(LONG_WORK_MS),
        }),
      ),
    [studyId, annotatorId, category, imageId],
  );
  const { data, failure, reload } = useLoaded(load);
  const maps = useMemo(() => (data?.maps ? stretched(data.maps) : null), [data]);
  const photo = resultImageUrl(studyId, imageId);
  return (
    <div className="explained">
      <span className="picture">
        <img src={photo} alt="What the network saw" />
      </span>
      {failure !== null && <Failure error={failure} onAgain={reload} />}
      {data?.activations.map(({ activation_id, name, share }, at) => (
        <figure key={activation_id}>
          <span className="picture">
            <img src={photo} alt="" />
            {maps && <MapOf maps={maps} at={at} name={name} />}
          </span>
          <figcaption>
            <bdi className={name ? "" : "unnamed"}>{name || "unnamed"}</bdi>{" "}
            <span className="quiet">{percent(share)}</span>
          </figcaption>
        </figure>
      ))}
    </div>
  );
}

function MapOf({ maps, at, name }: { maps: Maps; at: number; name: string }) {
  const values = mapAt(maps, at);
  if (!values) return null;
  const src = mapUrl(values, maps.height, maps.width, loadPreferences().colours);
  return (
    <img className="map" src={src} alt={`Where it looked for ${name || "something unnamed"}`} />
  );
}
