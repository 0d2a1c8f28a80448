import { studyPath } from "../address";
import { answered, api } from "../api/client";
import { OwnerHeader } from "./OwnerHeader";
import { useLoaded } from "./useLoaded";
import { STATE_WORDS } from "./words";

const loadStudies = () => answered(api.GET("/api/studies"));

/** All studies of this server. */
export function StudiesPage() {
  const { data, failure } = useLoaded(loadStudies);
  return (
    <>
      <OwnerHeader />
      <main className="paper">
        <h1>Studies</h1>
        {failure && <p className="band">{failure}</p>}
        {data?.studies.length === 0 && (
          <p className="empty">
            No studies yet. <code>onoma demo</code> makes one of ready pictures;{" "}
            <code>onoma study create</code> makes one of yours.
          </p>
        )}
        {data && data.studies.length > 0 && (
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
              {data.studies.map((study) => (
                <tr key={study.study_id}>
                  <td>
                    <a href={studyPath(study.study_id)}>{study.name}</a>
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
        )}
      </main>
    </>
  );
}
