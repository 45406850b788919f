// The ranking page: every way of ranking edits the same select fields of the same form, which works
// without this script. Each task is connected when it comes onto the page.

import Sortable from "../vendor/sortable/sortable.esm.js";
import { Draft } from "./rank-draft.js";
import { bindKeys } from "./rank-keys.js";
import { RankingModel } from "./rank-model.js";
import { makeScrollable, toggleFull } from "./rank-text.js";
import { ActiveTime } from "./rank-time.js";
import { RankingView } from "./rank-view.js";

const RETRY_SUBMIT_MILLISECONDS = 4000;
const UNDO_LIMIT = 200;
const HEADER_PIXELS = 56;

const said = document.getElementById("rank-said");
const keys = document.querySelector("[data-keys]");
let current = null;

function say(words) {
  if (said) said.textContent = words;
}

class Task {
  constructor(form) {
    this.form = form;
    form.dataset.ready = "";
    this.view = new RankingView(form);
    this.ids = [...this.view.cards.keys()];
    this.history = [];
    this.status = form.querySelector("[data-status]");
    this.draft = new Draft(form, {
      show: (state, words) => this.#showStatus(state, words),
      lost: () => this.#showLost(),
    });
    this.#restoreUnsaved();
    const ranks = this.ids.map((id) => [id, Number(this.view.select(id).value) || null]);
    this.model = new RankingModel(this.ids, new Map(ranks));
    this.time = new ActiveTime(Number(form.elements.active_ms.value) || 0);
    form.elements.time_zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
    this.#bind();
    this.#makeSortable();
    this.#renew();
    const lease = Number(form.dataset.leaseSeconds) * 1000;
    this.renewal = setInterval(() => this.time.inUse && this.#renew(), Math.max(lease / 3, 5000));
    this.#render();
    this.#describeSaid();
    makeScrollable(form);
    this.#remindOfPrompt();
  }

  disconnect() {
    this.reading.disconnect();
    clearInterval(this.renewal);
    clearTimeout(this.retry);
    this.time.stop();
    this.draft.stop();
    this.sortables.forEach((sortable) => sortable.destroy());
  }

  // ---- What keys, buttons and dragging do: true when the key was used ----

  hasLetter(letter) {
    return this.ids.some((id) => this.view.letter(id).toLowerCase() === letter);
  }

  pick(letter) {
    const id = this.ids.find((one) => this.view.letter(one).toLowerCase() === letter);
    this.view.focusCard(id);
    if (this.model.get(id) === null) this.#change(id, () => this.model.append(id));
    return true;
  }

  place(rank) {
    if (rank !== null && rank > this.ids.length) return false;
    return this.#withFocused((id) => this.#change(id, () => this.model.place(id, rank)));
  }

  move(step) {
    return this.#withFocused((id) => {
      if (!this.#change(id, () => this.model.move(id, step))) say(`${this.view.letter(id)} cannot move further.`);
    });
  }

  tie() {
    return this.#withFocused((id) => {
      if (!this.#change(id, () => this.model.toggleTie(id))) say("There is nothing above to tie with.");
    });
  }

  undo() {
    const last = this.history.pop();
    if (!last) {
      say("Nothing to undo.");
      return true;
    }
    this.model.restore(last.ranks);
    this.#render();
    this.#changed();
    say(`Undone. ${this.#describe(last.id)}`);
    return true;
  }

  focus(step) {
    const at = this.ids.indexOf(this.#focusedId());
    const to = at < 0 ? (step > 0 ? 0 : this.ids.length - 1) : at + step;
    if (to >= 0 && to < this.ids.length) this.view.focusCard(this.ids[to]);
    return true;
  }

  submit() {
    const left = this.model.unplaced;
    if (left.length) {
      this.view.focusCard(left[0]);
      say(`${left.length} not placed yet: ${left.map((id) => this.view.letter(id)).join(", ")}.`);
    } else {
      this.form.requestSubmit(this.form.querySelector("[data-submit]"));
    }
    return true;
  }

  guidelines() {
    const details = this.form.querySelector("[data-guidelines]");
    if (!details) return false;
    details.open = !details.open;
    if (details.open) details.querySelector("[role=region]").focus();
    return true;
  }

  skip() {
    const details = this.form.querySelector("[data-skip]");
    if (!details) return false;
    details.open = true;
    details.scrollIntoView({ block: "nearest" });
    details.querySelector("input").focus();
    return true;
  }

  openKeys() {
    keys?.showModal();
    return true;
  }

  // ---- Sending ----

  beforeSubmit() {
    this.draft.stop();
    this.form.elements.active_ms.value = this.time.read();
    this.#showStatus("saving", "Sending…");
  }

  /** The answer never came: what the server has is not known, and sending again is harmless. */
  afterLostConnection() {
    this.draft.resume();
    this.draft.changed();
    this.#showStatus("failed", "Not submitted: no connection. Retrying; your ranking is kept here.");
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.submit(), RETRY_SUBMIT_MILLISECONDS);
  }

  // ---- Inside ----

  #bind() {
    this.form.addEventListener("click", (event) => this.#onClick(event));
    this.form.addEventListener("change", (event) => this.#onChange(event));
    this.form.addEventListener("input", (event) => event.target.name === "comment" && this.#changed());
    const guidelines = this.form.querySelector("[data-guidelines]");
    guidelines?.addEventListener("toggle", () => {
      saveView({ guidelines: guidelines.open ? "open" : "closed" });
    });
  }

  #onClick(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const id = button.closest("[data-completion]")?.dataset.completion;
    if (button.matches("[data-undo]")) this.undo();
    else if (button.matches("[data-to-prompt]")) this.#showPrompt();
    else if (button.matches("[data-full]")) toggleFull(button);
    else if (button.dataset.rank) {
      const rank = Number(button.dataset.rank);
      this.#change(id, () => this.model.place(id, this.model.get(id) === rank ? null : rank));
    } else if (button.dataset.action === "up") this.#change(id, () => this.model.move(id, -1));
    else if (button.dataset.action === "down") this.#change(id, () => this.model.move(id, 1));
    else if (button.dataset.action === "tie") this.#change(id, () => this.model.toggleTie(id));
    else if (button.dataset.action === "show") this.view.focusCard(id);
  }

  #onChange({ target }) {
    const id = target.closest("article[data-completion]")?.dataset.completion;
    if (target.name?.startsWith("rank_")) {
      this.#change(id, () => this.model.place(id, Number(target.value) || null));
    } else if (target.form === this.form) {
      this.#describeSaid();
      this.#changed();
    }
  }

  #change(id, edit) {
    const ranks = this.model.snapshot();
    if (!edit()) return false;
    this.history.push({ ranks, id });
    this.history.splice(0, this.history.length - UNDO_LIMIT);
    this.#render();
    this.#changed();
    say(this.#describe(id));
    return true;
  }

  #changed() {
    clearTimeout(this.retry);
    this.form.elements.active_ms.value = this.time.read();
    this.draft.changed();
  }

  #describe(id) {
    const letter = this.view.letter(id);
    const rank = this.model.get(id);
    const tied = this.model.tiedWith(id).map((other) => this.view.letter(other));
    const left = this.model.unplaced.length;
    const place =
      rank === null ? `${letter} is not placed.` : `${letter} has rank ${rank}${tied.length ? `, tied with ${tied.join(", ")}` : ""}.`;
    return `${place} ${left ? `${left} left to place.` : "All placed: press Enter to submit."}`;
  }

  #render() {
    this.view.render(this.model, { canUndo: this.history.length > 0 });
  }

  #focusedId() {
    return document.activeElement?.closest("[data-completion]")?.dataset.completion;
  }

  #withFocused(act) {
    const id = this.#focusedId();
    if (id) act(id);
    else say("Focus a completion first: press the down arrow, or its letter.");
    return true;
  }

  #makeSortable() {
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
      onEnd: (event) => this.#onDrop(event),
    };
    this.sortables = [
      new Sortable(this.view.placed, options),
      new Sortable(this.view.tray, { ...options, sort: false }),
    ];
  }

  #onDrop({ item, to, newDraggableIndex }) {
    const id = item.dataset.completion;
    const dropped =
      to === this.view.tray
        ? this.#change(id, () => this.model.remove(id))
        : this.#change(id, () => this.model.drop(id, newDraggableIndex));
    if (!dropped) this.#render();
  }

  /** While the prompt is out of sight, its last turn stands beside the completions. */
  #remindOfPrompt() {
    const reminder = this.form.querySelector("[data-reminder]");
    const options = { rootMargin: `-${HEADER_PIXELS}px 0px 0px 0px` };
    this.reading = new IntersectionObserver(([{ isIntersecting }]) => {
      reminder.hidden = isIntersecting;
    }, options);
    this.reading.observe(this.form.querySelector(".turn-last"));
  }

  #showPrompt() {
    window.scrollTo(0, 0);
    this.form.querySelector("[data-task-title]").focus({ preventScroll: true });
  }

  /** What this browser kept when the connection was lost, back into the form and to the server. */
  #restoreUnsaved() {
    const unsaved = this.draft.takeUnsaved();
    if (!unsaved) return;
    const values = new Map();
    unsaved.forEach(([name, value]) => values.set(name, [...(values.get(name) ?? []), value]));
    if (values.get("based_on")?.[0] !== this.form.elements.based_on.value) {
      this.draft.forget();
      return;
    }
    for (const field of this.form.elements) {
      if (!/^(rank|rating|flag)_|^comment$/.test(field.name)) continue;
      const kept = values.get(field.name) ?? [];
      if (field.type === "radio" || field.type === "checkbox") field.checked = kept.includes(field.value);
      else field.value = kept[0] ?? "";
    }
    this.draft.changed();
  }

  #describeSaid() {
    this.view.cards.forEach((card) => {
      const rating = card.querySelector("input[type=radio]:checked")?.value;
      const flags = [...card.querySelectorAll("input[type=checkbox]:checked")].map((box) =>
        box.nextElementSibling.textContent.toLowerCase(),
      );
      const words = [rating && `${rating} of 7`, ...flags].filter(Boolean).join(", ");
      card.querySelector("[data-said]").textContent = words;
    });
  }

  async #renew() {
    try {
      const response = await fetch(`${this.form.dataset.address}/renew`, { method: "POST" });
      if (response.ok && !(await response.json()).held && this.form.elements.based_on.value === "0") this.#showLost();
    } catch {
      // The next draft or renewal tries again; the lease lasts longer than a short outage.
    }
  }

  #showLost() {
    const note = this.form.querySelector("[data-lease-lost]");
    if (!note.hidden) return;
    note.hidden = false;
    note.scrollIntoView({ block: "nearest" });
  }

  #showStatus(state, words) {
    if (state === "failed" && this.status.textContent !== words) say(words);
    this.status.dataset.state = state;
    this.status.textContent = words;
  }
}

// ---- The page ----

function saveView(choice) {
  fetch("/ranking-view", { method: "POST", body: new URLSearchParams(choice), redirect: "manual" });
}

function connect() {
  current?.disconnect();
  const form = document.querySelector("form[data-ranking]");
  current = form ? new Task(form) : null;
}

document.querySelector("[data-layout-form]")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const layout = event.submitter.value;
  event.target.querySelectorAll("button").forEach((button) => {
    button.setAttribute("aria-pressed", String(button === event.submitter));
  });
  const form = document.querySelector("form[data-ranking]");
  if (form) form.dataset.layout = layout;
  saveView({ layout });
});

document.querySelectorAll("[data-open-keys]").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", () => keys.showModal());
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
