// Keeps what was done on the server after each change. What the server does not have yet is kept in
// this browser too, so that a lost connection or a closed tab loses nothing.

const QUIET_MILLISECONDS = 400;
const RETRY_MILLISECONDS = [1000, 2000, 5000, 10_000, 30_000];

export class Draft {
  /** `show(state, words)` tells the person; `lost()` says that the task went to others. */
  constructor(form, { show, lost }) {
    this.form = form;
    this.show = show;
    this.lost = lost;
    this.key = `podium-draft-${form.dataset.ranking}`;
    this.failures = 0;
    this.retry = () => this.pending && this.save();
    this.leave = () => {
      if (document.visibilityState === "hidden" && this.pending) this.save();
    };
    window.addEventListener("online", this.retry);
    document.addEventListener("visibilitychange", this.leave);
  }

  /** What this browser kept and the server never got, back into the form and to the server. */
  restoreUnsaved() {
    const unsaved = this.#readHere();
    if (!unsaved) return;
    const values = new Map();
    unsaved.forEach(([name, value]) => values.set(name, [...(values.get(name) ?? []), value]));
    if (values.get("based_on")?.[0] !== this.form.elements.based_on.value) {
      this.forget();
      return;
    }
    for (const field of this.form.elements) {
      if (!/^(rank|rating|flag)_|^comment$/.test(field.name)) continue;
      const kept = values.get(field.name) ?? [];
      if (field.type === "radio" || field.type === "checkbox") field.checked = kept.includes(field.value);
      else field.value = kept[0] ?? "";
    }
    this.changed();
  }

  changed() {
    this.pending = true;
    this.#keepHere();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), QUIET_MILLISECONDS);
    this.show("saving", "");
  }

  async save() {
    clearTimeout(this.timer);
    if (this.saving || this.stopped) return;
    this.saving = true;
    this.pending = false;
    try {
      const response = await fetch(`${this.form.dataset.address}/draft`, {
        method: "POST",
        body: new URLSearchParams(new FormData(this.form)),
        keepalive: true,
      });
      if (this.stopped) return;
      if (response.ok) this.#saved(await response.json());
      else this.#refused(response.status);
    } catch {
      if (!this.stopped) this.#failed("Not saved: no connection. Retrying; your work is kept here.");
    } finally {
      this.saving = false;
      if (this.pending && !this.failures && !this.stopped) this.save();
    }
  }

  /** No more saving: the ranking itself is on its way, or the task is gone from the page. */
  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    window.removeEventListener("online", this.retry);
    document.removeEventListener("visibilitychange", this.leave);
  }

  resume() {
    this.stopped = false;
    window.addEventListener("online", this.retry);
    document.addEventListener("visibilitychange", this.leave);
  }

  forget() {
    try {
      localStorage.removeItem(this.key);
    } catch {
      // A browser without storage kept nothing.
    }
  }

  #readHere() {
    try {
      return JSON.parse(localStorage.getItem(this.key));
    } catch {
      return null;
    }
  }

  #keepHere() {
    try {
      localStorage.setItem(this.key, JSON.stringify([...new FormData(this.form)]));
    } catch {
      // Without storage the server's copy has to do.
    }
  }

  #saved(answer) {
    this.failures = 0;
    if (!this.pending) this.forget();
    this.show("saved", "Draft saved");
    if (!answer.held) this.lost();
  }

  #refused(status) {
    if (status >= 500 || status === 429) {
      this.#failed("Not saved: the server has a problem. Retrying; your work is kept here.");
    } else if (status === 401) {
      this.show("failed", "Not saved: you are signed out. Sign in again in another tab, then change anything.");
    } else {
      this.show("failed", "The draft was not taken. Submitting will say why.");
    }
  }

  #failed(words) {
    this.pending = true;
    this.show("failed", words);
    const wait = RETRY_MILLISECONDS[Math.min(this.failures, RETRY_MILLISECONDS.length - 1)];
    this.failures += 1;
    this.timer = setTimeout(() => this.save(), wait);
  }
}
