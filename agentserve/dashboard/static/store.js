// Everything that was told, over time: the page looks at any moment of it. See docs/dashboard.md for the frames.
import { Series } from "./series.js";
import { isActive } from "./states.js";

export const KEPT = 900; // seconds of a live gateway's past
const FIGURES = ["tenants", "more", "times", "pins", "policy", "tuner"];

// A program's stretches: `series` of [state, engine, tokens, until, waiting, running, served], begun when each began.
class Program {
  end = null;
  series = new Series();

  constructor([slot, id, tenant, workflow, parent, arrived]) {
    Object.assign(this, { slot, id, tenant, workflow, parent, arrived });
    this.key = `${tenant}/${id}`;
    this.text = `${id} ${workflow} ${tenant}`.toLowerCase();
  }

  take([, state, since, ...rest]) {
    const { at, values } = this.series;
    const last = values.length - 1;
    if (last >= 0 && (since <= at[last] || (values[last][0] === state && values[last][1] === rest[0] && since === at[last]))) {
      values[last] = [state, ...rest];
    } else {
      this.series.push(since, [state, ...rest]);
    }
  }

  // What it was doing then, null if it was not there.
  doing(time) {
    if (time < this.arrived || (this.end !== null && time >= this.end)) return null;
    return this.series.value(time) ?? this.series.values[0] ?? null;
  }
}

export class Store {
  constructor() {
    this.reset();
  }

  reset() {
    this.programs = []; // by arrival at the page
    this.bySlot = new Map();
    this.byKey = new Map();
    this.engines = new Map();
    this.figures = Object.fromEntries(FIGURES.map((name) => [name, new Series()]));
    this.calls = new Series(); // [waiting, running] of all tenants
    this.start = null;
    this.latest = 0;
    this.date = null;
    this.source = null;
    this.ended = false;
    this.version = 0;
  }

  take(frame) {
    if (frame.whole) this.begin(frame);
    this.latest = Math.max(this.latest, frame.at);
    for (const identity of frame.new ?? []) this.meet(identity);
    for (const row of frame.rows ?? []) this.bySlot.get(row[0]).take(row);
    for (const slot of frame.gone ?? []) this.part(slot, frame.at);
    for (const row of frame.engines ?? []) this.engine(row, frame.at);
    for (const name of FIGURES) if (name in frame) this.figures[name].push(frame.at, frame[name]);
    if (frame.tenants) this.count(frame.tenants, frame.at);
    if (frame.end) this.ended = true;
    this.version += 1;
  }

  // A frame that tells everything: of the same gateway, what was known of the past stays.
  begin(frame) {
    if (this.date !== frame.date) this.reset();
    this.source = frame.source;
    this.date = frame.date;
    this.start ??= frame.at;
    const there = new Set(frame.new.map(([, id, tenant]) => `${tenant}/${id}`));
    for (const [slot, program] of this.bySlot) if (!there.has(program.key)) this.part(slot, frame.at);
    this.bySlot.clear();
  }

  meet(identity) {
    const known = this.byKey.get(`${identity[2]}/${identity[1]}`);
    if (known && known.end === null) {
      known.slot = identity[0];
      this.bySlot.set(known.slot, known);
      return;
    }
    const program = new Program(identity);
    this.programs.push(program);
    this.bySlot.set(program.slot, program);
    this.byKey.set(program.key, program);
  }

  part(slot, at) {
    this.bySlot.get(slot).end = at;
    this.bySlot.delete(slot);
  }

  engine(row, at) {
    const [name, ...values] = row;
    if (!this.engines.has(name)) this.engines.set(name, new Series());
    this.engines.get(name).push(at, values);
  }

  count(tenants, at) {
    this.calls.push(at, tenants.reduce(([waiting, running], row) => [waiting + row[2], running + row[3]], [0, 0]));
  }

  // Forgets what is older than `KEPT`, of a gateway that goes on.
  forget() {
    if (this.source !== "live") return;
    const before = this.latest - KEPT;
    this.start = Math.max(this.start, before);
    const gone = (program) => program.end !== null && program.end < before;
    for (const program of this.programs) {
      if (!gone(program)) program.series.forget(before);
      else if (this.byKey.get(program.key) === program) this.byKey.delete(program.key);
    }
    this.programs = this.programs.filter((program) => !gone(program));
    for (const series of [...this.engines.values(), ...Object.values(this.figures), this.calls]) series.forget(before);
  }

  // The programs that hold an engine's KV at a time, by state, largest first.
  holders(engine, time) {
    const found = [];
    for (const program of this.programs) {
      const doing = program.doing(time);
      if (doing && doing[1] === engine && doing[2] > 0) found.push({ program, state: doing[0], tokens: doing[2] });
    }
    const kind = (state) => (isActive(state) ? -state : state);
    return found.sort((a, b) => kind(a.state) - kind(b.state) || b.tokens - a.tokens);
  }
}
