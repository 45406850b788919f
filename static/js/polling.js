// Polling fragments marked `data-rest-when-hidden` ask nothing of the server while their tab is
// hidden, and ask once as soon as it is seen again.
// (htmx's own trigger filters are expressions to evaluate, which our content policy forbids.)

const RESTING = "[data-rest-when-hidden]";

document.addEventListener("htmx:before:request", (event) => {
  const source = event.detail?.ctx?.sourceElement ?? event.target;
  if (document.hidden && source.matches?.(RESTING)) event.preventDefault();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const fragment of document.querySelectorAll(RESTING)) {
    fragment.dispatchEvent(new CustomEvent("refresh"));
  }
});
