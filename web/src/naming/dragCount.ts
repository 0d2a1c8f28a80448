import { counted } from "./words";

/** Lets a small label with the number of examples follow the mouse. */
export function dragCount(transfer: DataTransfer, count: number): void {
  const label = document.createElement("div");
  label.className = "drag-count";
  label.textContent = counted(count, "example");
  document.body.append(label);
  transfer.setDragImage(label, -12, -12);
  // The browser has drawn it by the next task.
  setTimeout(() => label.remove());
}
