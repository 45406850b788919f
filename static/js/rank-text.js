// Texts that are longer than their card, and what scrolls inside them.

const HEADER_PIXELS = 56;

const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => updateFull(target)));

/** Let the keyboard reach what scrolls, and begin where it matters. */
export function makeScrollable(form) {
  form.querySelectorAll("article [data-text]").forEach((text) => sizes.observe(text));
  form.querySelectorAll(".markdown :is(pre, table, .math)").forEach((wide) => {
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
  });
  showLastTurn(form);
}

/** Of a conversation that scrolls inside its card, what is to be answered. */
export function showLastTurn(form) {
  const conversation = form.querySelector("[data-conversation]");
  const last = conversation?.querySelector(".turn-last");
  if (last && last !== conversation.firstElementChild) {
    conversation.scrollTop = Math.min(last.offsetTop - conversation.offsetTop - 8, conversation.scrollHeight);
  }
}

function updateFull(text) {
  const button = text.parentElement.querySelector("[data-full]");
  if (button.getAttribute("aria-expanded") === "true") return;
  button.hidden = text.scrollHeight <= text.clientHeight + 1;
}

/** Open a text in full, or close it to the height of its card. */
export function toggleFull(button) {
  const full = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(full));
  button.querySelector("span").textContent = full ? "Show less" : "Show in full";
  button.closest("article").classList.toggle("is-full", full);
}

/** While the prompt is out of sight, its last turn stands beside the completions. */
export function remindOfPrompt(form) {
  const reminder = form.querySelector("[data-reminder]");
  const seen = new IntersectionObserver(
    ([{ isIntersecting }]) => {
      reminder.hidden = isIntersecting;
    },
    { rootMargin: `-${HEADER_PIXELS}px 0px 0px 0px` },
  );
  seen.observe(form.querySelector(".turn-last"));
  return seen;
}
