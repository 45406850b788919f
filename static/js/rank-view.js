// Shows a RankingModel on the page: the numbers on the cards, the order in the panel, the button.

export class RankingView {
  constructor(form) {
    this.form = form;
    this.cards = new Map(
      [...form.querySelectorAll("article[data-completion]")].map((card) => [card.dataset.completion, card]),
    );
    this.placed = form.querySelector("[data-placed]");
    this.tray = form.querySelector("[data-tray]");
    this.trayBox = form.querySelector("[data-tray-box]");
    this.hint = form.querySelector("[data-order-hint]");
    this.submit = form.querySelector("[data-submit]");
    this.undo = form.querySelector("[data-undo]");
    this.submitWords = this.submit.textContent.trim();
    this.chips = new Map([...this.cards].map(([id, card]) => [id, this.#makeChip(id, card)]));
    form.querySelector("[data-order-card]").hidden = false;
    this.cards.forEach((card) => {
      card.querySelector("[data-select]").hidden = true;
      card.querySelector("[data-ranks]").hidden = false;
      card.querySelector("[data-place]").hidden = false;
    });
  }

  letter(id) {
    return this.cards.get(id).dataset.letter;
  }

  select(id) {
    return this.cards.get(id).querySelector("select");
  }

  /** Whatever has the focus inside a chip keeps it, though the chip moves. */
  render(model, { canUndo }) {
    const focused = document.activeElement;
    this.cards.forEach((card, id) => this.#renderCard(card, model.get(id), model.tiedWith(id)));
    const groups = model.groups;
    this.placed.replaceChildren(
      ...groups.flatMap((group, place) =>
        group.map((id, index) =>
          this.#renderChip(id, { rank: model.get(id), tied: index > 0, first: place === 0 && index === 0, group }),
        ),
      ),
    );
    this.tray.replaceChildren(...model.unplaced.map((id) => this.#renderChip(id, { rank: null })));
    const left = model.unplaced.length;
    this.trayBox.hidden = left === 0;
    this.hint.hidden = groups.length > 0;
    this.submit.disabled = left > 0;
    this.submit.textContent = left ? `${left} left to place` : this.submitWords;
    this.undo.disabled = !canUndo;
    if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
  }

  focusCard(id) {
    const card = this.cards.get(id);
    card.querySelector("[data-text]").focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  }

  /** Beside "Rate and flag": what was said there. */
  describeSaid() {
    this.cards.forEach((card) => {
      const rating = card.querySelector("input[type=radio]:checked")?.value;
      const flags = [...card.querySelectorAll("input[type=checkbox]:checked")].map((box) =>
        box.nextElementSibling.textContent.toLowerCase(),
      );
      const words = [rating && `${rating} of 7`, ...flags].filter(Boolean).join(", ");
      card.querySelector("[data-said]").textContent = words;
    });
  }

  /** Every card in the order shown, but only these two in sight; all of them without a question. */
  showOnly(question) {
    const list = this.form.querySelector("[data-completions]");
    if (!question) {
      const shown = [...list.children].every((card, place) => card === [...this.cards.values()][place]);
      if (!shown) list.append(...this.cards.values());
    } else {
      // The one that stays is not moved: it would lose where it was scrolled to.
      const { candidate, opponent, left } = question;
      const stays = this.cards.get(candidate);
      stays[left === candidate ? "after" : "before"](this.cards.get(opponent));
    }
    this.cards.forEach((card, id) => {
      card.hidden = Boolean(question) && id !== question.left && id !== question.right;
      this.chips.get(id).querySelector('[data-action="show"]').disabled = card.hidden;
    });
  }

  #renderCard(card, rank, tied) {
    card.querySelector("select").value = rank ?? "";
    card.classList.toggle("is-placed", rank !== null);
    card.classList.toggle("is-first", rank === 1);
    const letters = tied.map((id) => this.letter(id)).join(", ");
    card.querySelector("[data-place]").textContent =
      rank === null ? "not placed" : tied.length ? `= tied with ${letters}` : "";
    card.querySelectorAll("[data-rank]").forEach((button) => {
      button.setAttribute("aria-pressed", String(Number(button.dataset.rank) === rank));
    });
  }

  #makeChip(id, card) {
    const template = this.form.querySelector("[data-chip-template]");
    const chip = template.content.firstElementChild.cloneNode(true);
    const letter = card.dataset.letter;
    chip.dataset.completion = id;
    chip.querySelector("[data-chip-letter]").textContent = letter;
    const text = card.querySelector("[data-text]").textContent.replace(/\s+/g, " ").trim();
    chip.querySelector("[data-chip-words]").textContent = text.slice(0, 90);
    const names = { up: `Move ${letter} up`, down: `Move ${letter} down`, tie: `Tie ${letter} with the one above` };
    Object.entries(names).forEach(([action, name]) => {
      const button = chip.querySelector(`[data-action="${action}"]`);
      button.setAttribute("aria-label", name);
      button.title = name;
    });
    return chip;
  }

  #renderChip(id, { rank, tied = false, first = false, group = [] }) {
    const chip = this.chips.get(id);
    const isTied = group.length > 1;
    const letter = this.letter(id);
    chip.querySelector("[data-chip-rank]").textContent = rank ?? "";
    chip.classList.toggle("is-tied", isTied);
    chip.classList.toggle("is-tied-below", tied);
    chip.classList.toggle("is-first", rank === 1);
    chip.classList.toggle("is-unplaced", rank === null);
    const up = chip.querySelector('[data-action="up"]');
    up.setAttribute("aria-label", rank === null ? `Place ${letter} next` : `Move ${letter} up`);
    up.title = up.getAttribute("aria-label");
    chip.querySelector('[data-action="down"]').hidden = rank === null;
    const tie = chip.querySelector('[data-action="tie"]');
    tie.hidden = rank === null;
    tie.disabled = first && !isTied;
    tie.setAttribute("aria-pressed", String(isTied));
    return chip;
  }
}
