import { type ComponentProps, useState } from "react";
import { type Dragged, isReadOnly, useNaming } from "./store";

interface DropTargetProps extends Omit<ComponentProps<"div">, "onDrop"> {
  /** Whether this may be dropped here. */
  accepts: (dragged: Dragged) => boolean;
  onTake: (dragged: Dragged) => void;
}

/** A place to drop what is dragged; it shows when a drop would do something. */
export function DropTarget({ accepts, onTake, className = "", ...rest }: DropTargetProps) {
  const [over, setOver] = useState(false);
  const dragged = useNaming((state) => (isReadOnly(state) ? null : state.dragged));
  const ready = dragged !== null && accepts(dragged);
  const look = [className, ready ? "drop-ready" : "", ready && over ? "drop-over" : ""];
  return (
    // Keys do everything that dropping does.
    // biome-ignore lint/a11y/noStaticElementInteractions: see above
    <div
      {...rest}
      className={look.filter(Boolean).join(" ")}
      onDragOver={(event) => {
        if (!ready) return;
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={(event) => {
        const inside =
          event.relatedTarget instanceof Node && event.currentTarget.contains(event.relatedTarget);
        if (!inside) setOver(false);
      }}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        useNaming.setState({ dragged: null });
        if (ready) onTake(dragged);
      }}
    />
  );
}
