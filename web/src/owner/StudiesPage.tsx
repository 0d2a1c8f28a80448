import { useState } from "react";
import { studyPath } from "../address";
import { Failure } from "../Failure";
import { NewStudy } from "./NewStudy";
import { OwnerHeader } from "./OwnerHeader";
import { loadStudies } from "./studies";
import { TableScroll } from "./TableScroll";
import { useLoaded } from "./useLoaded";
import { STATE_WORDS } from "./words";

/** All studies of this server, and a form for one more. */
export function StudiesPage() {
  const { data: studies, failure, reload } = useLoaded(loadStudies);
  const [isMaking, setMaking] = useState(false);
  return (
    <>
      <title>Studies – Onoma</title>
      <OwnerHeader />
      <main className="paper">
        <div className="title-line">
          <h1>Studies</h1>
          <button type="button" aria-expanded={isMaking} onClick={() => setMaking(!isMaking)}>
            {isMaking ? "Not now" : "New study"}
          </button>
        </div>
        {isMaking && <NewStudy />}
        {failure !== null && <Failure error={failure} onAgain={reload} />}
        {studies?.length === 0 && (
          <p className="empty">
            No studies yet. “New study” makes one of the networks and pictures that are here;{" "}
            <code>onoma demo</code> brings both and makes one to look at.
          </p>
        )}
        {studies && studies.length > 0 && (
          <TableScroll>
            <table>
              <thead>
                <tr>
                  <th>Study</th>
                  <th>State</th>
                  <th>Model</th>
                  <th>Data set</th>
                  <th className="number">Categories</th>
                  <th className="number">Activations</th>
                </tr>
              </thead>
              <tbody>
                {studies.map((study) => (
                  <tr key={study.study_id}>
                    <td>
                      <a href={studyPath(study.study_id)}>
                        <bdi>{study.name}</bdi>
                      </a>
                    </td>
                    <td>{STATE_WORDS[study.state]}</td>
                    <td>{study.model}</td>
                    <td>{study.dataset}</td>
                    <td className="number">{study.categories.length}</td>
                    <td className="number">{study.activation_count}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </TableScroll>
        )}
      </main>
    </>
  );
}
