// Keys of the ranking page. They do nothing while somebody types, and never take a key that the
// focused control needs.

const TYPING = "input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]";
const NEEDS_ENTER = "button, a, summary, input, textarea, select";

const SINGLE_KEYS = "podium:single-keys";

/** Letters, digits and signs can be turned off, for people whose speech is typed (WCAG 2.1.4). */
function singleKeysAreOn() {
  try {
    return localStorage.getItem(SINGLE_KEYS) !== "off";
  } catch {
    return true;
  }
}

/** The switch for it, kept on this device. */
export function bindSingleKeysSwitch(box) {
  box.checked = singleKeysAreOn();
  box.addEventListener("change", () => {
    try {
      localStorage.setItem(SINGLE_KEYS, box.checked ? "on" : "off");
    } catch {
      box.checked = true;
    }
  });
}

/** `actions` is what connects to the current task; null when the page shows none. */
export function bindKeys(currentActions) {
  document.addEventListener("keydown", (event) => {
    const actions = currentActions();
    if (!actions || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (event.target.closest?.("details[data-menu], .shell-header")) return;
    if (event.target.matches?.(TYPING) || event.isComposing) return;
    if (handle(event, actions)) event.preventDefault();
  });
}

function handle(event, actions) {
  const { key, altKey, shiftKey, ctrlKey, metaKey, target } = event;
  if ((ctrlKey || metaKey) && !altKey && !shiftKey && key.toLowerCase() === "z") return actions.undo();
  if (ctrlKey || metaKey) return false;
  if (key === "ArrowUp" || key === "ArrowDown" || key === "ArrowLeft" || key === "ArrowRight") {
    return handleArrow(event, actions);
  }
  if (altKey || (key.length === 1 && !singleKeysAreOn())) return false;
  if (key === "?") return actions.openKeys();
  // A key that is held down says one thing, not the answer to what it has not seen.
  if (event.repeat && actions.comparing) return true;
  if (/^[1-9]$/.test(key)) return actions.place(Number(key));
  if (key === "0" || key === "Backspace" || key === "Delete") return actions.place(null);
  if (key === "=") return actions.tie();
  if (key === "D" && shiftKey) return actions.difference();
  if (key === "Enter") return target.matches?.(NEEDS_ENTER) ? false : actions.submit();
  if (shiftKey) return false;
  return handleLetter(key.toLowerCase(), actions);
}

function handleArrow({ key, altKey, shiftKey, target, repeat }, actions) {
  const vertical = key === "ArrowUp" || key === "ArrowDown";
  const step = key === "ArrowUp" || key === "ArrowLeft" ? -1 : 1;
  if (altKey || shiftKey) return vertical && actions.move(step);
  if (target.matches?.("input")) return false;
  // Wide code and tables scroll sideways.
  if (!vertical && target.matches?.("pre, table, .math")) return false;
  if (!vertical && actions.comparing) return repeat || actions.judge(step < 0 ? "left" : "right");
  return actions.focus(step);
}

function handleLetter(letter, actions) {
  if (actions.hasLetter(letter)) return actions.pick(letter);
  const named = { d: "difference", t: "tie", u: "undo", r: "guidelines", s: "skip" }[letter];
  return named ? actions[named]() : false;
}
