// One against one: which two completions to compare next, by binary insertion. Nothing here knows of
// the page.
//
// Those that are placed stand in order; the next one that is not is compared with the middle of
// where it may still belong, until its place is found. Placing into k ranks takes at most
// ceil(log2(k + 1)) comparisons: 5 for four completions, 21 for nine.

const mostInto = (ranks) => Math.ceil(Math.log2(ranks + 1));

export class Insertion {
  /** `chooseLeft()` says on which side the next one to place stands while its place is sought. */
  constructor(chooseLeft) {
    this.chooseLeft = chooseLeft;
    this.state = null;
  }

  /** The two to compare next, whatever happened to the model since; null when nothing is left. */
  ask(model) {
    this.#follow(model);
    if (!this.state) return null;
    const { candidate, onLeft } = this.state;
    const opponent = this.#ranks(model)[this.#middle][0];
    const [left, right] = onLeft ? [candidate, opponent] : [opponent, candidate];
    return { left, right, candidate, opponent, atMost: this.#most(model) };
  }

  /** `verdict` is left, right or equal. True when the place of the candidate was found. */
  answer(model, verdict) {
    const { opponent } = this.ask(model);
    const { candidate, seed, onLeft } = this.state;
    const better = (verdict === "left") === onLeft;
    const bounds = { ...this.state };
    if (verdict !== "equal") {
      if (better) bounds.high = this.#middle;
      else bounds.low = this.#middle + 1;
      this.state = bounds;
      if (bounds.low < bounds.high) return false;
    }
    if (seed) model.append(seed);
    if (verdict === "equal") model.join(candidate, opponent);
    else model.insert(candidate, bounds.low);
    this.state = null;
    return true;
  }

  /** At any time, for undo. */
  snapshot() {
    return this.state && { ...this.state };
  }

  restore(snapshot) {
    this.state = snapshot;
  }

  get #middle() {
    return Math.floor((this.state.low + this.state.high) / 2);
  }

  /** The very first comparison is with one that is not placed either. */
  #ranks(model) {
    return this.state.seed ? [[this.state.seed]] : model.groups;
  }

  /** Begin with another candidate where this one was placed, or the order is not that of before. */
  #follow(model) {
    const waiting = model.unplaced;
    const order = JSON.stringify(model.groups);
    if (this.state && this.state.order === order && waiting.includes(this.state.candidate)) return;
    this.state = null;
    const ranks = model.groups.length;
    const seed = ranks ? null : waiting[0];
    const candidate = waiting[ranks ? 0 : 1];
    if (!candidate) return;
    this.state = { candidate, seed, order, low: 0, high: ranks || 1, onLeft: this.chooseLeft() };
  }

  #most(model) {
    const { low, high } = this.state;
    const ranks = this.#ranks(model).length;
    const others = model.unplaced.length - (this.state.seed ? 2 : 1);
    let most = mostInto(high - low);
    for (let more = 1; more <= others; more += 1) most += mostInto(ranks + more);
    return most;
  }
}
