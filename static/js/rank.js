// The ranking page: every way of ranking edits the same select fields of the same form, which works
// without this script. Each task is connected when it comes onto the page.

import { Difference } from "./rank-difference.js";
import { bindKeys, bindSingleKeysSwitch } from "./rank-keys.js";
import { Task } from "./rank-task.js";

const said = document.getElementById("rank-said");
const keys = document.querySelector("[data-keys]");
const differenceDialog = document.querySelector("[data-difference]");
const difference = differenceDialog && new Difference(differenceDialog);
let current = null;

/** What belongs to the page and not to one task. */
const page = {
  openKeys: () => keys?.showModal(),
  openDifference: (...about) => difference.open(...about),
  saveView,
};

document.querySelectorAll("[data-single-keys]").forEach(bindSingleKeysSwitch);

function say(words) {
  if (said) said.textContent = words;
}

function saveView(choice) {
  fetch("/ranking-view", { method: "POST", body: new URLSearchParams(choice), redirect: "manual" });
}

function connect() {
  current?.disconnect();
  const form = document.querySelector("form[data-ranking]");
  current = form ? new Task(form, { say, page }) : null;
}

document.querySelector("[data-layout-form]")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const layout = event.submitter.value;
  event.target.querySelectorAll("button").forEach((button) => {
    button.setAttribute("aria-pressed", String(button === event.submitter));
  });
  current?.setLayout(layout);
  saveView({ layout });
});

document.querySelectorAll("[data-open-keys]").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", page.openKeys);
});

document.querySelectorAll("[data-page-difference]").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", () => current?.difference());
});

document.addEventListener("htmx:before:request", ({ detail }) => {
  if (current && detail.ctx.sourceElement === current.form) current.beforeSubmit();
});

document.addEventListener("htmx:after:request", ({ detail }) => {
  if (current && detail.ctx.response.status < 400) current.draft.forget();
});

document.addEventListener("htmx:error", ({ detail }) => {
  if (current && detail.ctx?.sourceElement === current.form) current.afterLostConnection();
});

document.addEventListener("htmx:after:swap", ({ detail }) => {
  if (detail.ctx.target?.id !== "rank") return;
  connect();
  window.scrollTo(0, 0);
  const problem = document.querySelector("[data-rank-error]");
  const title = document.querySelector("#rank [data-task-title]");
  title?.focus({ preventScroll: true });
  if (problem) return;
  say(current ? `Next task. ${current.ids.length} completions.` : (title?.textContent ?? ""));
});

// Going back is a page load: the task of then may look quite different by now.
document.addEventListener("htmx:before:history:restore", (event) => {
  event.preventDefault();
  window.location.reload();
});

bindKeys(() => current);
connect();
