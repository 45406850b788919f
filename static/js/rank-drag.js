// Dragging in the list of the order, by mouse and by the handle on a touch screen.

import Sortable from "../vendor/sortable/sortable.esm.js";

/** `drop(id, position)` is told where a completion was let go; null outside of the order. */
export function makeSortable(view, drop) {
  const options = {
    group: "ranking",
    handle: "[data-handle]",
    draggable: "li",
    animation: 0,
    invertSwap: true,
    forceFallback: true,
    fallbackOnBody: true,
    fallbackTolerance: 3,
    ghostClass: "chip-ghost",
    fallbackClass: "chip-flying",
    onEnd: ({ item, to, newDraggableIndex }) =>
      drop(item.dataset.completion, to === view.tray ? null : newDraggableIndex),
  };
  return [new Sortable(view.placed, options), new Sortable(view.tray, { ...options, sort: false })];
}
