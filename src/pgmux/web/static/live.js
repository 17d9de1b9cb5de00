// The stream of samples: Server-Sent Events, joined again by itself, with what is asked of it.

const STALE_AFTER = 3; // intervals without a sample

/** Calls onHistory, onSample and onState ("live" | "stale" | "away") until the page is left. */
export class Live {
  #on;
  #source = null;
  #asked = {};
  #interval = 2;
  #seenAt = 0;
  #retry = 0;

  constructor(on) {
    this.#on = on;
    setInterval(() => this.#watch(), 500);
    document.addEventListener("visibilitychange", () => this.#visibility());
  }

  /** Joins with this filter and this pool: {filter, database, user}. */
  ask(asked) {
    this.#asked = asked;
    this.#join();
  }

  /** Seconds since the last sample came. */
  get age() {
    return this.#seenAt ? (performance.now() - this.#seenAt) / 1_000 : null;
  }

  #join() {
    this.#source?.close();
    clearTimeout(this.#retry);
    const asked = Object.entries(this.#asked).filter(([, value]) => value != null && value !== "");
    const source = new EventSource(`api/live?${new URLSearchParams(asked)}`);
    this.#source = source;
    source.addEventListener("history", (event) => this.#on.history(JSON.parse(event.data)));
    source.addEventListener("sample", (event) => {
      this.#seenAt = performance.now();
      const sample = JSON.parse(event.data);
      this.#interval = sample.interval;
      this.#on.sample(sample);
    });
    source.addEventListener("error", () => {
      // Chromium tries again where the connection broke, but not after an answer such as 503.
      if (source.readyState === EventSource.CLOSED) {
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => this.#join(), 3_000);
      }
      this.#on.state("away", this.age);
    });
  }

  #watch() {
    const age = this.age;
    if (age == null) return;
    const isAway = this.#source?.readyState !== EventSource.OPEN;
    const isStale = age > STALE_AFTER * this.#interval + 1;
    this.#on.state(isAway ? "away" : isStale ? "stale" : "live", age);
  }

  // A page that nobody looks at asks for nothing, and the pooler is asked less often.
  #visibility() {
    if (document.hidden) {
      this.#source?.close();
      this.#source = null;
    } else if (this.#source === null) {
      this.#join();
    }
  }
}
