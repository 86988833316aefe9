// The time that the page shows: the gateway's, which goes on between frames, or a moment of the past.
export class Clock {
  #shown = null; // null: now
  #heard = { at: 0, here: 0 };
  playing = true;
  speed = 1;
  #ticked = performance.now();

  constructor(store) {
    this.store = store;
  }

  hear(at) {
    this.#heard = { at, here: performance.now() };
  }

  get isNow() {
    return this.#shown === null;
  }

  // The newest time there is.
  get end() {
    if (this.store.source !== "live") return this.store.latest;
    return this.#heard.at + Math.min((performance.now() - this.#heard.here) / 1000, 1.5);
  }

  get time() {
    return this.#shown ?? this.end;
  }

  show(time) {
    this.#shown = Math.min(Math.max(time, this.store.start ?? 0), this.end);
  }

  now() {
    this.#shown = null;
    this.playing = this.store.source === "live";
  }

  // Stops, or goes on from where it was stopped.
  toggle() {
    if (this.playing) this.#shown = this.time;
    else if (this.store.source !== "live" && this.time >= this.end) this.#shown = this.store.start;
    this.playing = !this.playing;
  }

  // Lets time pass in the past, while it plays. To be called with every picture.
  tick() {
    const now = performance.now();
    const passed = (now - this.#ticked) / 1000;
    this.#ticked = now;
    if (!this.playing || this.#shown === null) return;
    const recorded = this.store.source !== "live";
    this.#shown += passed * (recorded ? this.speed : 1);
    if (this.#shown >= this.end) {
      this.#shown = recorded ? this.end : null;
      this.playing = !recorded;
    }
  }
}
