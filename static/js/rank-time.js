// Active time: counts only while the page is visible and somebody uses it.

const IDLE_MILLISECONDS = 60_000;
const SIGNS = ["pointerdown", "pointermove", "keydown", "wheel", "scroll", "touchstart"];

export class ActiveTime {
  constructor(milliseconds = 0) {
    this.milliseconds = milliseconds;
    this.usedAt = performance.now();
    this.countedAt = this.usedAt;
    this.visible = document.visibilityState === "visible";
    this.sign = () => {
      this.#count();
      this.usedAt = performance.now();
    };
    this.visibility = () => {
      this.#count();
      this.visible = document.visibilityState === "visible";
      if (this.visible) this.usedAt = performance.now();
    };
    SIGNS.forEach((name) => window.addEventListener(name, this.sign, { capture: true, passive: true }));
    document.addEventListener("visibilitychange", this.visibility);
  }

  /** Milliseconds so far. */
  read() {
    this.#count();
    return Math.round(this.milliseconds);
  }

  /** Whether somebody was here within the last minutes. */
  get inUse() {
    return this.visible && performance.now() - this.usedAt < 5 * IDLE_MILLISECONDS;
  }

  stop() {
    SIGNS.forEach((name) => window.removeEventListener(name, this.sign, { capture: true }));
    document.removeEventListener("visibilitychange", this.visibility);
  }

  /** What went by since the last count was visible or hidden as the page was then. */
  #count() {
    const now = performance.now();
    const until = Math.min(now, this.usedAt + IDLE_MILLISECONDS);
    if (this.visible && until > this.countedAt) this.milliseconds += until - this.countedAt;
    this.countedAt = now;
  }
}
