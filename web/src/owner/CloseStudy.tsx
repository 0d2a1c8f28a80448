import { useState } from "react";
import { Dialog } from "../Dialog";
import { counted } from "../naming/words";

interface CloseStudyProps {
  annotatorCount: number;
  onClose: () => void;
}

/** The button that ends a study, and the one question of the owner's pages: this cannot be taken back. */
export function CloseStudy({ annotatorCount, onClose }: CloseStudyProps) {
  const [isAsking, setAsking] = useState(false);
  return (
    <>
      <button type="button" onClick={() => setAsking(true)}>
        Close the study
      </button>
      {isAsking && (
        <Dialog title="Close the study?" wayOut="Cancel" onClose={() => setAsking(false)}>
          <p>
            {annotatorCount === 0
              ? "Nobody can name anything in it then"
              : `${counted(annotatorCount, "annotator")} can name no more`}
            , and it cannot be opened again.
          </p>
          <p>
            <button
              type="button"
              className="main-act"
              onClick={() => {
                setAsking(false);
                onClose();
              }}
            >
              Close for good
            </button>
          </p>
        </Dialog>
      )}
    </>
  );
}
