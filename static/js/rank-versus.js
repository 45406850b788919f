// One against one: two completions in sight and three answers, until every one has its place. What
// is asked is up to Insertion; what the answers change is the same model that everything else edits.

import { Insertion } from "./rank-insertion.js";

// Over the tasks of a visit the one to place stands as often on the left as on the right, at random.
let lean = 0;

function chooseLeft() {
  const left = lean === 0 ? Math.random() < 0.5 : lean < 0;
  lean += left ? 1 : -1;
  return left;
}

export class Versus {
  constructor(form, view) {
    this.form = form;
    this.view = view;
    this.bar = form.querySelector("[data-versus]");
    this.done = form.querySelector("[data-versus-done]");
    this.insertion = new Insertion(chooseLeft);
    this.question = null;
  }

  get chosen() {
    return this.form.dataset.layout === "one";
  }

  /** Show the two of the next question, or everything when there is none. */
  render(model) {
    const before = this.question;
    this.question = this.chosen ? this.insertion.ask(model) : null;
    const { question } = this;
    const focused = this.form.querySelector("[data-completions]").contains(document.activeElement);
    const changed = before?.left !== question?.left || before?.right !== question?.right;
    if (changed) this.view.showOnly(question);
    this.form.toggleAttribute("data-comparing", Boolean(question));
    this.bar.hidden = !question;
    this.done.hidden = !this.chosen || Boolean(question);
    if (!question) return;
    this.#label("left", question.left);
    this.#label("right", question.right);
    this.bar.querySelector("[data-versus-count]").textContent = this.left;
    if (changed && before && focused) this.#focusNewcomer(before);
  }

  /** How many comparisons there are still, in words. */
  get left() {
    const { atMost } = this.question;
    return atMost === 1 ? "Last comparison" : `At most ${atMost} comparisons left`;
  }

  /** What is asked, in words. */
  get words() {
    const { left, right } = this.question;
    return `${this.view.letter(left)} or ${this.view.letter(right)}? ${this.left}.`;
  }

  /** What a verdict says, in words. */
  describe(verdict, { left, right }) {
    const [first, second] = [left, right].map((id) => this.view.letter(id));
    if (verdict === "equal") return `${first} and ${second} are equal.`;
    return verdict === "left" ? `${first} is better than ${second}.` : `${second} is better than ${first}.`;
  }

  /** On a phone, back to the top of the two. */
  scrollToTop() {
    const list = this.form.querySelector("[data-completions]");
    if (list.getBoundingClientRect().top < 0) list.scrollIntoView({ block: "start" });
  }

  #label(side, id) {
    const button = this.bar.querySelector(`[data-verdict="${side}"]`);
    button.querySelector("[data-versus-name]").textContent = this.view.letter(id);
  }

  #focusNewcomer(before) {
    const seen = [before.left, before.right];
    const { left, right } = this.question;
    const id = [right, left].find((one) => !seen.includes(one)) ?? left;
    this.view.cards.get(id).querySelector("[data-text]").focus({ preventScroll: true });
  }
}
