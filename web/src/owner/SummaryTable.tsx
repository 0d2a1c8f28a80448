import { Fragment, useCallback, useState } from "react";
import { answered, api, askWithin, LONG_WORK_MS, resultImageUrl } from "../api/client";
import type { Annotator, Study } from "../api/openapi";
import { Failure } from "../Failure";
import { counted } from "../naming/words";
import { ImagesBehind } from "./ImagesBehind";
import { TableScroll } from "./TableScroll";
import { useLoaded } from "./useLoaded";
import { percent } from "./words";

const IMAGES_SHOWN = 8;

/** What the network looked at: the explanations of a category, most frequent first (Table 4). */
export function SummaryTable({ study, annotators }: { study: Study; annotators: Annotator[] }) {
  const [annotatorId, setAnnotatorId] = useState(annotators[0]?.annotator_id ?? "");
  const [category, setCategory] = useState(study.categories[0] ?? "");
  const [opened, setOpened] = useState<string | null>(null);
  const { study_id } = study;
  const load = useCallback(
    () =>
      answered(
        api.GET("/api/studies/{study_id}/annotators/{annotator_id}/summary", {
          params: { path: { study_id, annotator_id: annotatorId }, query: { category } },
          fetch: askWithin(LONG_WORK_MS),
        }),
      ),
    [study_id, annotatorId, category],
  );
  const { data, failure, reload } = useLoaded(load);

  function choose(set: (chosen: string) => void, chosen: string): void {
    set(chosen);
    setOpened(null);
  }

  return (
    <section>
      <h2>What the network looked at</h2>
      <p className="choices">
        <label>
          in images of{" "}
          <select value={category} onChange={(event) => choose(setCategory, event.target.value)}>
            {study.categories.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <label>
          in the words of{" "}
          <select
            value={annotatorId}
            onChange={(event) => choose(setAnnotatorId, event.target.value)}
          >
            {annotators.map(({ annotator_id, display_name }) => (
              <option key={annotator_id} value={annotator_id}>
                {display_name}
              </option>
            ))}
          </select>
        </label>
      </p>
      {failure !== null && <Failure error={failure} onAgain={reload} />}
      {failure === null && !data && <p role="status">Loading.</p>}
      {data && (
        <TableScroll>
          <table className="summary">
            <caption>
              {counted(data.image_count, "image")}
              {data.left_out_count > 0 &&
                `; ${data.left_out_count} without a significant activation left out`}
            </caption>
            <thead>
              <tr>
                <th>Explanation</th>
                <th className="number">Images</th>
                <th className="number">Share</th>
                <th>Such as</th>
              </tr>
            </thead>
            <tbody>
              {data.rows.map((row) => {
                const key = row.names.join("\n");
                const isOpen = opened === key;
                return (
                  <Fragment key={key}>
                    <tr className="opens" onClick={() => setOpened(isOpen ? null : key)}>
                      <td>
                        <button type="button" className="explanation" aria-expanded={isOpen}>
                          <Explanation names={row.names} />
                        </button>
                      </td>
                      <td className="number">{row.image_count}</td>
                      <td className="number">{percent(row.share)}</td>
                      <td>
                        <span className="thumbnails">
                          {row.image_ids.slice(0, IMAGES_SHOWN).map((id) => (
                            <img
                              key={id}
                              className="thumbnail"
                              src={resultImageUrl(study_id, id)}
                              alt=""
                              loading="lazy"
                            />
                          ))}
                        </span>
                      </td>
                    </tr>
                    {isOpen && (
                      <tr>
                        <td colSpan={4}>
                          <ImagesBehind
                            studyId={study_id}
                            annotatorId={annotatorId}
                            category={category}
                            imageIds={row.image_ids}
                          />
                        </td>
                      </tr>
                    )}
                  </Fragment>
                );
              })}
            </tbody>
          </table>
        </TableScroll>
      )}
    </section>
  );
}

/** What the report and the commands call an image of which nothing has a name. */
const NOTHING_NAMED = "unlabeled";

function Explanation({ names }: { names: string[] }) {
  if (names.length === 1 && names[0] === NOTHING_NAMED)
    return (
      <span className="unnamed" title={`“${NOTHING_NAMED}” in the report`}>
        nothing named
      </span>
    );
  return names.map((name, at) => (
    <Fragment key={name}>
      {at > 0 && ", "}
      <bdi>{name}</bdi>
    </Fragment>
  ));
}
