// What differs between two completions, word by word, in a dialog. The texts as they were written
// come from the server when first asked for; the library that compares them too.

import { compareWords, countWords, loadWordDiff } from "./text-difference.js";

export class Difference {
  constructor(dialog) {
    this.dialog = dialog;
    this.selects = ["first", "second"].map((name) => dialog.querySelector(`[name=${name}]`));
    this.said = dialog.querySelector("[data-difference-said]");
    this.panes = dialog.querySelector("[data-difference-panes]");
    dialog.addEventListener("change", () => this.#show());
    dialog.querySelector("[data-difference-swap]").addEventListener("click", () => {
      const [first, second] = this.selects;
      [first.value, second.value] = [second.value, first.value];
      this.#show();
    });
  }

  /** `letters` maps the ids of the completions to their letters; `pair` are the two to begin with. */
  async open(address, letters, pair) {
    if (this.address !== address) {
      this.address = address;
      this.letters = letters;
      this.texts = null;
      const options = [...letters].map(([id, letter]) => [letter, id]);
      this.selects.forEach((select) => select.replaceChildren(...options.map((one) => new Option(...one))));
    }
    this.selects.forEach((select, place) => {
      select.value = pair[place];
    });
    this.panes.replaceChildren();
    this.dialog.showModal();
    await this.#load();
    this.#show();
  }

  async #load() {
    if (this.texts) return;
    this.said.textContent = "Comparing…";
    const { address } = this;
    try {
      const [, response] = await Promise.all([loadWordDiff(), fetch(`${address}/texts`)]);
      if (!response.ok || address !== this.address) return;
      this.texts = (await response.json()).texts;
    } catch {
      // Said below: the texts are not there.
    }
  }

  #show() {
    if (!this.texts) {
      this.said.textContent = "The texts could not be had from the server. Close this and try again.";
      return;
    }
    const [first, second] = this.selects.map((select) => select.value);
    const names = [this.letters.get(first), this.letters.get(second)];
    const texts = [this.texts[first], this.texts[second]];
    const changes = compareWords(...texts);
    this.said.textContent = describe(names, texts, changes);
    const merged = this.dialog.querySelector("[name=difference-view]:checked").value === "merged";
    const parts = changes ?? [{ value: texts[0], removed: true }, { value: texts[1], added: true }];
    this.panes.replaceChildren(
      ...(merged
        ? [makePane(`${names[0]} and ${names[1]} in one text`, parts)]
        : [
            makePane(names[0], parts.filter((part) => !part.added)),
            makePane(names[1], parts.filter((part) => !part.removed)),
          ]),
    );
  }
}

function describe([first, second], texts, changes) {
  if (first === second) return "Choose two different completions.";
  if (texts[0] === texts[1]) return `${first} and ${second} are the same.`;
  if (!changes) return `${first} and ${second} are too long and too different to compare by word.`;
  const count = (mark) =>
    changes.filter((part) => part[mark]).reduce((sum, part) => sum + countWords(part.value), 0);
  const [removed, added] = [count("removed"), count("added")];
  const words = (number) => `${number.toLocaleString("en")} ${number === 1 ? "word" : "words"}`;
  if (!removed && !added) return `${first} and ${second} differ in spaces and signs only.`;
  return `Only in ${first}: ${words(removed)}. Only in ${second}: ${words(added)}.`;
}

function makePane(name, parts) {
  const pane = document.createElement("section");
  const title = document.createElement("h3");
  const text = document.createElement("div");
  title.textContent = name;
  text.className = "difference-text";
  text.tabIndex = 0;
  text.setAttribute("role", "region");
  text.setAttribute("aria-label", name);
  text.append(...parts.map(makePart));
  pane.append(title, text);
  return pane;
}

function makePart({ value, added, removed }) {
  if (!added && !removed) return value;
  const part = document.createElement(added ? "ins" : "del");
  part.textContent = value;
  return part;
}
