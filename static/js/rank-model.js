// An order with ties, as the labeler builds it. Nothing here knows of the page.
//
// Every completion has a rank from 1 (best), or null until the person placed it. Ranks given by
// number stay as they are: equal ranks are ties, gaps mean nothing. Moving, tying and dropping work
// on the order those ranks make, and write it back without gaps.

export class RankingModel {
  /** `ids` in the order shown; `ranks` maps ids to whole numbers. */
  constructor(ids, ranks = new Map()) {
    this.ids = ids;
    this.ranks = new Map(ids.map((id) => [id, ranks.get(id) ?? null]));
  }

  get(id) {
    return this.ranks.get(id);
  }

  get unplaced() {
    return this.ids.filter((id) => this.get(id) === null);
  }

  /** Best first; each group is one rank, in the order shown. */
  get groups() {
    const ranks = [...new Set(this.ids.map((id) => this.get(id)))].filter((rank) => rank !== null);
    return ranks.sort((a, b) => a - b).map((rank) => this.ids.filter((id) => this.get(id) === rank));
  }

  tiedWith(id) {
    const rank = this.get(id);
    return rank === null ? [] : this.ids.filter((other) => other !== id && this.get(other) === rank);
  }

  place(id, rank) {
    return this.#change(() => this.ranks.set(id, rank));
  }

  remove(id) {
    return this.place(id, null);
  }

  /** Place below everything that is placed. */
  append(id) {
    return this.#change(() => this.#write([...this.#without(id), [id]]));
  }

  /** One step up (-1) or down (+1): out of a tie first, then past the neighbour. */
  move(id, step) {
    if (this.get(id) === null) return this.append(id);
    const groups = this.groups;
    const at = groups.findIndex((group) => group.includes(id));
    const tied = groups[at].length > 1;
    const rest = this.#without(id);
    let to = at;
    if (tied) to = step < 0 ? at : at + 1;
    else to = Math.min(Math.max(at + step, 0), rest.length);
    rest.splice(to, 0, [id]);
    return this.#change(() => this.#write(rest));
  }

  /** Tie with the next better one; a completion that is tied parts and goes right below. */
  toggleTie(id) {
    const groups = this.groups;
    const at = groups.findIndex((group) => group.includes(id));
    if (at < 0) return false;
    const rest = this.#without(id);
    if (groups[at].length > 1) rest.splice(at + 1, 0, [id]);
    else if (at > 0) rest[at - 1].push(id);
    else return false;
    return this.#change(() => this.#write(rest));
  }

  /** Drop into the placed list at a position; between two that are tied, it joins them. */
  drop(id, position) {
    const rest = this.#without(id);
    const flat = rest.flatMap((group, index) => group.map(() => index));
    const above = flat[position - 1];
    const below = flat[position];
    if (above !== undefined && above === below) rest[above].push(id);
    else rest.splice(above === undefined ? 0 : above + 1, 0, [id]);
    return this.#change(() => this.#write(rest));
  }

  /** Place as a rank of its own at a position among the ranks of the others. */
  insert(id, at) {
    const rest = this.#without(id);
    rest.splice(at, 0, [id]);
    return this.#change(() => this.#write(rest));
  }

  /** Tie with one that is placed. */
  join(id, other) {
    const rest = this.#without(id);
    rest.find((group) => group.includes(other)).push(id);
    return this.#change(() => this.#write(rest));
  }

  /** Nothing is placed any more. */
  clear() {
    return this.#change(() => this.ids.forEach((id) => this.ranks.set(id, null)));
  }

  snapshot() {
    return new Map(this.ranks);
  }

  restore(snapshot) {
    this.ranks = new Map(snapshot);
  }

  #without(id) {
    return this.groups.map((group) => group.filter((other) => other !== id)).filter((group) => group.length);
  }

  #write(groups) {
    groups.forEach((group, index) => group.forEach((id) => this.ranks.set(id, index + 1)));
  }

  #change(edit) {
    const before = this.snapshot();
    edit();
    return this.ids.some((id) => before.get(id) !== this.get(id));
  }
}
