import { reportUrl } from "../api/report";
import { keepFocus } from "./focus";
import { LinkAgain } from "./LinkAgain";
import { closeLoss, readOnlyReason, useNaming } from "./store";
import { counted, sentence } from "./words";

/** What is so for a while: nothing can be changed, or the link has to be opened again. */
export function Bands() {
  const readOnly = useNaming(readOnlyReason);
  const study = useNaming((state) => state.study);
  const seesOthers = useNaming((state) => state.seesOthers);
  const saving = useNaming((state) => state.saving);
  const waiting = useNaming((state) => state.waiting);
  return (
    <>
      {readOnly && (
        <p className="band">
          {readOnly}
          {seesOthers && study && <a href={reportUrl(study.study_id)}>What everybody named</a>}
        </p>
      )}
      {saving.kind === "signed_out" && (
        <section className="band" aria-label="Link" role="alert">
          <span>
            {sentence(saving.message)} {counted(waiting, "change")} {waiting === 1 ? "is" : "are"}{" "}
            kept here and will be sent once you open your link.
          </span>
          <LinkAgain />
        </section>
      )}
    </>
  );
}

/** What was lost, and what just happened with what can be done about it: below the examples, so that nothing moves. */
export function NoticeBands() {
  const losses = useNaming((state) => state.losses);
  return (
    <>
      {[...losses].map(([words, times]) => (
        <div key={words} className="band" role="alert">
          <span>
            {words}
            {times > 1 && ` (${times} times)`}
          </span>
          <button
            type="button"
            onClick={() => {
              closeLoss(words);
              keepFocus();
            }}
          >
            Close
          </button>
        </div>
      ))}
      <NoticeBand />
    </>
  );
}

function NoticeBand() {
  const notice = useNaming((state) => state.notice);
  if (!notice) return null;
  const close = () => {
    useNaming.setState({ notice: null });
    keepFocus();
  };
  return (
    <div className="band" role="alert">
      <span>{notice.words}</span>
      {notice.offers?.map(({ label, run }) => (
        <button
          key={label}
          type="button"
          onClick={() => {
            close();
            run();
          }}
        >
          {label}
        </button>
      ))}
      <button type="button" onClick={close}>
        Close
      </button>
    </div>
  );
}
