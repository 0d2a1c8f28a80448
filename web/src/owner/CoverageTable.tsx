import { useCallback } from "react";
import { answered, api, askWithin, LONG_WORK_MS } from "../api/client";
import type { Annotator, Coverage, Study } from "../api/openapi";
import { Failure } from "../Failure";
import { TableScroll } from "./TableScroll";
import { useLoaded } from "./useLoaded";
import { percent, whyUndefined } from "./words";

/** How much of what the network looked at has a name (paper, Figures 3 to 5). */
export function CoverageTable({ study, annotators }: { study: Study; annotators: Annotator[] }) {
  const { study_id } = study;
  const load = useCallback(
    () =>
      answered(
        api.GET("/api/studies/{study_id}/coverage", {
          params: { path: { study_id } },
          fetch: askWithin(LONG_WORK_MS),
        }),
      ),
    [study_id],
  );
  const { data, failure, reload } = useLoaded(load);
  const names = new Map(
    annotators.map(({ annotator_id, display_name }) => [annotator_id, display_name]),
  );

  return (
    <section>
      <h2>Coverage</h2>
      {failure !== null && <Failure error={failure} onAgain={reload} />}
      {data?.coverages.length === 0 && <p className="empty">Nothing is named yet.</p>}
      {data && data.coverages.length > 0 && (
        <TableScroll label="Coverage">
          <table>
            <thead>
              <tr>
                <th>Category</th>
                <th>Annotator</th>
                <th className="number">Activations named</th>
                <th className="number">Images in part</th>
                <th className="number">Images wholly</th>
                <th className="number">Concepts</th>
                <th className="number">n activations</th>
                <th className="number">n images</th>
              </tr>
            </thead>
            {categoriesOf(data.coverages).map(([category, rows]) => (
              <tbody key={category}>
                {rows.map((row, index) => (
                  <tr key={row.annotator_id}>
                    {index === 0 && (
                      <th scope="rowgroup" rowSpan={rows.length}>
                        {category}
                      </th>
                    )}
                    <td>
                      {row.annotator_id ? (names.get(row.annotator_id) ?? row.annotator_id) : "any"}
                    </td>
                    <td className="number">
                      <Share row={row} of="activation" />
                    </td>
                    <td className="number">
                      <Share row={row} of="partial" />
                    </td>
                    <td className="number">
                      <Share row={row} of="complete" />
                    </td>
                    <td className="number">{row.annotator_id ? row.concept_count : ""}</td>
                    <td className="number">{row.activation_count}</td>
                    <td className="number">{row.image_count}</td>
                  </tr>
                ))}
              </tbody>
            ))}
          </table>
        </TableScroll>
      )}
    </section>
  );
}

/** The rows of each category, which follow one another. */
function categoriesOf(rows: readonly Coverage[]): [category: string, Coverage[]][] {
  const found = new Map<string, Coverage[]>();
  for (const row of rows) found.set(row.category, [...(found.get(row.category) ?? []), row]);
  return [...found];
}

interface ShareProps {
  row: Coverage;
  of: "activation" | "partial" | "complete";
}

/** A share of a row; where it is 0/0 an en dash that says why, to the pointer and to those who hear the page. */
export function Share({ row, of }: ShareProps) {
  const share = row[of];
  if (share !== undefined) return percent(share);
  const why = whyUndefined(row);
  return (
    <span title={why}>
      <span aria-hidden="true">–</span>
      <span className="unseen">{why}</span>
    </span>
  );
}
