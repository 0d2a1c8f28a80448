import { Dialog } from "../Dialog";
import { SHORTCUTS } from "./shortcuts";
import { useNaming } from "./store";

/** How naming works, and every key. */
export function Help() {
  const open = useNaming((state) => state.helpOpen);
  const singleKeys = useNaming((state) => state.singleKeys);
  if (!open) return null;
  return (
    <Dialog title="Help" onClose={() => useNaming.setState({ helpOpen: false })}>
      <p>
        Each example shows one thing that the network looked at, as a map over the photograph. Put
        those that show the same thing into one concept and name it in your words. Discard what
        makes no sense; what you leave in the pool is an answer, too. Every act is saved at once and
        can be undone.
      </p>
      <p>
        Click to select, with Shift up to here, with Ctrl one more (as each tap does); draw a
        rectangle from between the tiles to select by lasso. Drag the selection onto a concept, “New
        concept”, the pool or “Discarded”; drag one concept onto another to merge them; a right
        click on a concept shows what else can be done with it. Rest the mouse on an example to see
        it without its map; a double click opens the large view. A concept of “fewer than 3 images”
        (some studies ask for more) is kept, and the statistics leave it out.
      </p>
      <dl className="keys">
        {SHORTCUTS.filter(({ words }) => words).map(({ shown, words }) => (
          <div key={shown}>
            <dt>
              <kbd>{shown}</kbd>
            </dt>
            <dd>{words}</dd>
          </div>
        ))}
      </dl>
      <label>
        <input
          type="checkbox"
          checked={singleKeys}
          onChange={(event) => useNaming.setState({ singleKeys: event.target.checked })}
        />
        Letters, numbers and signs are keys of this page (turn them off if you speak to your
        computer)
      </label>
    </Dialog>
  );
}
