// One task on the ranking page: what keys, buttons, dragging and selects do to its order, and what
// goes to the server. All of it edits the same select fields of the same form.

import { Draft } from "./rank-draft.js";
import { makeSortable } from "./rank-drag.js";
import { RankingModel } from "./rank-model.js";
import { makeScrollable, remindOfPrompt, showLastTurn, toggleFull } from "./rank-text.js";
import { ActiveTime } from "./rank-time.js";
import { Versus } from "./rank-versus.js";
import { RankingView } from "./rank-view.js";

const RETRY_SUBMIT_MILLISECONDS = 4000;
const UNDO_LIMIT = 200;

export class Task {
  /** `say(words)` tells a screen reader; `page` opens what belongs to the whole page. */
  constructor(form, { say, page }) {
    this.form = form;
    this.say = say;
    this.page = page;
    form.dataset.ready = "";
    this.view = new RankingView(form);
    this.ids = [...this.view.cards.keys()];
    this.history = [];
    this.status = form.querySelector("[data-status]");
    this.draft = new Draft(form, {
      show: (state, words) => this.#showStatus(state, words),
      lost: () => this.#showLost(),
    });
    this.draft.restoreUnsaved();
    const ranks = this.ids.map((id) => [id, Number(this.view.select(id).value) || null]);
    this.model = new RankingModel(this.ids, new Map(ranks));
    this.time = new ActiveTime(Number(form.elements.active_ms.value) || 0);
    form.elements.time_zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
    this.versus = new Versus(form, this.view);
    this.sortables = makeSortable(this.view, (id, position) => this.#drop(id, position));
    this.#bind();
    this.#renew();
    const lease = Number(form.dataset.leaseSeconds) * 1000;
    this.renewal = setInterval(() => this.time.inUse && this.#renew(), Math.max(lease / 3, 5000));
    this.#render();
    this.view.describeSaid();
    makeScrollable(form);
    this.reading = remindOfPrompt(form);
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
    if (this.comparing) return this.#judgeFor(id);
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
      if (!this.#change(id, () => this.model.move(id, step))) this.say(`${this.view.letter(id)} cannot move further.`);
    });
  }

  get comparing() {
    return this.versus.question !== null;
  }

  /** One against one: left, right or equal. */
  judge(verdict) {
    const { question, insertion } = this.versus;
    const { candidate: id } = question;
    this.#remember(id);
    const answered = this.versus.describe(verdict, question);
    const placed = insertion.answer(this.model, verdict);
    this.#render();
    this.#changed();
    if (this.comparing) {
      this.versus.scrollToTop();
      this.say(`${answered} ${placed ? `${this.#describe(id)} ` : ""}Next: ${this.versus.words}`);
    } else {
      this.#showOrder();
      this.say(`${answered} All placed: ${this.#spellOrder()}. Check the order, then press Enter to submit.`);
    }
    return true;
  }

  tie() {
    if (this.comparing) return this.judge("equal");
    return this.#withFocused((id) => {
      if (!this.#change(id, () => this.model.toggleTie(id))) this.say("There is nothing above to tie with.");
    });
  }

  undo() {
    const last = this.history.pop();
    if (!last) {
      this.say("Nothing to undo.");
      return true;
    }
    this.model.restore(last.ranks);
    this.versus.insertion.restore(last.insertion);
    this.#render();
    this.#changed();
    this.say(`Undone. ${this.#describe(last.id)}${this.comparing ? ` ${this.versus.words}` : ""}`);
    return true;
  }

  focus(step) {
    const { question } = this.versus;
    const ids = question ? [question.left, question.right] : this.ids;
    const at = ids.indexOf(this.#focusedId());
    const to = at < 0 ? (step > 0 ? 0 : ids.length - 1) : at + step;
    if (to >= 0 && to < ids.length) this.view.focusCard(ids[to]);
    return true;
  }

  submit() {
    const left = this.model.unplaced;
    if (this.comparing) {
      this.say(`Not all placed yet. ${this.versus.words}`);
    } else if (left.length) {
      this.view.focusCard(left[0]);
      this.say(`${left.length} not placed yet: ${left.map((id) => this.view.letter(id)).join(", ")}.`);
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
    this.page.openKeys();
    return true;
  }

  /** The two in sight, else the focused one and the one above it in the order, or the next shown. */
  difference() {
    const { question } = this.versus;
    const focused = this.#focusedId() ?? this.ids[0];
    const order = this.model.groups.flat();
    const above = order[order.indexOf(focused) - 1];
    const next = this.ids[(this.ids.indexOf(focused) + 1) % this.ids.length];
    const pair = question ? [question.left, question.right] : [focused, above ?? next];
    const letters = new Map(this.ids.map((id) => [id, this.view.letter(id)]));
    this.page.openDifference(this.form.dataset.address, letters, pair);
    return true;
  }

  setLayout(layout) {
    this.form.dataset.layout = layout;
    this.versus.render(this.model);
    showLastTurn(this.form);
    if (this.comparing) this.say(`One against one. ${this.versus.words}`);
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
      this.page.saveView({ guidelines: guidelines.open ? "open" : "closed" });
    });
  }

  #onClick(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const id = button.closest("[data-completion]")?.dataset.completion;
    if (button.dataset.verdict) this.judge(button.dataset.verdict);
    else if (button.matches("[data-versus-again]")) this.#compareAgain();
    else if (button.matches("[data-open-difference]")) this.difference();
    else if (button.matches("[data-undo]")) this.undo();
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
      this.view.describeSaid();
      this.#changed();
    }
  }

  #change(id, edit) {
    const before = this.#state(id);
    if (!edit()) return false;
    this.#remember(id, before);
    this.#render();
    this.#changed();
    this.say(this.#describe(id));
    return true;
  }

  #state(id) {
    return { id, ranks: this.model.snapshot(), insertion: this.versus.insertion.snapshot() };
  }

  #remember(id, state = this.#state(id)) {
    this.history.push(state);
    this.history.splice(0, this.history.length - UNDO_LIMIT);
  }

  /** The letter of one of the two in sight says that it is the better one. */
  #judgeFor(id) {
    const { left, right } = this.versus.question;
    if (id === left) return this.judge("left");
    if (id === right) return this.judge("right");
    this.say(`${this.view.letter(id)} is not one of the two.`);
    return true;
  }

  #compareAgain() {
    const [first] = this.ids;
    this.#change(first, () => this.model.clear());
    this.view.focusCard(this.versus.question.left);
    this.say(`Nothing is placed. ${this.versus.words}`);
  }

  /** After the last comparison: the whole order, to check before it is submitted. */
  #showOrder() {
    const title = this.form.querySelector("[data-order-title]");
    title.focus({ preventScroll: true });
    title.closest("[data-order-card]").scrollIntoView({ block: "nearest" });
  }

  #spellOrder() {
    const tie = (group) => group.map((id) => this.view.letter(id)).join(" tied with ");
    return this.model.groups.map(tie).join(", then ");
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
    this.versus.render(this.model);
  }

  #focusedId() {
    return document.activeElement?.closest("[data-completion]")?.dataset.completion;
  }

  #withFocused(act) {
    const id = this.#focusedId();
    if (id) act(id);
    else this.say("Focus a completion first: press the down arrow, or its letter.");
    return true;
  }

  #drop(id, position) {
    const edit = position === null ? () => this.model.remove(id) : () => this.model.drop(id, position);
    if (!this.#change(id, edit)) this.#render();
  }

  #showPrompt() {
    window.scrollTo(0, 0);
    this.form.querySelector("[data-task-title]").focus({ preventScroll: true });
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
    if (state === "failed" && this.status.textContent !== words) this.say(words);
    this.status.dataset.state = state;
    this.status.textContent = words;
  }
}
