// What is told as numbers and words: tiles, tenants, times, pins, policy, tuner.
import { GAP, QUEUED, RETAINED, isActive } from "./states.js";
import { make, say, seconds } from "./words.js";

const TIMES = { ttft: "first token", call: "calls", program: "programs" };
const PINS = ["applied", "hit", "expired", "broken", "lost"];

export class Tiles {
  #values = new Map();

  constructor(list) {
    for (const [name, title] of [
      ["programs", "programs"], ["line", "calls in line"], ["engines", "calls on engines"],
      ["ttft", "first token, p50 · p95"], ["program", "programs, p50 · p95"], ["pins", "pins hit · broken"],
    ]) {
      const value = make("b", {}, "–");
      const more = make("span", {}, " ");
      list.append(make("li", {}, make("span", {}, title), value, more));
      this.#values.set(name, { value, more });
    }
  }

  draw(store, time) {
    const counted = { active: 0, queued: 0, resting: 0, oldest: null };
    for (const program of store.programs) {
      const doing = program.doing(time);
      if (doing) count(counted, doing[0], time - program.series.at[Math.max(program.series.place(time), 0)]);
    }
    const { active, queued, resting, oldest } = counted;
    const untold = store.figures.more.value(time) ?? 0;
    this.#say("programs", active + queued + resting + untold, [[active, "run"], [queued, "wait"], [resting, "in gaps"]].map(([many, what]) => `${many.toLocaleString("en")} ${what}`).join(" · "));
    const [waiting, running] = store.calls.value(time) ?? [0, 0];
    this.#say("line", waiting, oldest === null ? "" : `longest ${seconds(oldest)}`);
    const rows = [...store.engines.values()].map((series) => series.value(time)).filter(Boolean);
    const up = rows.filter((row) => row[1] === "up").length;
    this.#say("engines", running, `${up} of ${rows.length} engines up`);
    const times = store.figures.times.value(time) ?? {};
    for (const name of ["ttft", "program"]) {
      const found = times[name];
      this.#say(name, found ? `${seconds(found[0])} · ${seconds(found[1])}` : "–", found ? `of ${found[3].toLocaleString("en")}` : "none yet");
    }
    const pins = store.figures.pins.value(time) ?? {};
    const ended = (pins.hit ?? 0) + (pins.expired ?? 0) + (pins.broken ?? 0) + (pins.lost ?? 0);
    this.#say("pins", `${(pins.hit ?? 0).toLocaleString("en")} · ${(pins.broken ?? 0).toLocaleString("en")}`, ended ? `${Math.round((100 * (pins.hit ?? 0)) / ended)} % hit` : "");
  }

  #say(name, value, more) {
    const tile = this.#values.get(name);
    say(tile.value, typeof value === "number" ? value.toLocaleString("en") : value);
    say(tile.more, more || " ");
  }
}

function count(counted, state, since) {
  if (isActive(state)) counted.active += 1;
  else if (state === RETAINED || state === GAP) counted.resting += 1;
  else counted.queued += 1;
  if (state === QUEUED) counted.oldest = Math.max(counted.oldest ?? 0, since);
}

// Rows of a table, each a list of cells; made anew only if they differ.
export function table(element, rows) {
  const text = JSON.stringify(rows);
  if (element.dataset.rows === text) return;
  element.dataset.rows = text;
  const lines = rows.map(([head, ...cells]) => make("tr", {}, make("th", { scope: "row" }, head), ...cells.map((cell) => make("td", {}, String(cell)))));
  element.tBodies[0].replaceChildren(...lines);
}

export function tenants(element, store, time) {
  const rows = [...(store.figures.tenants.value(time) ?? [])].sort((a, b) => b[2] - a[2] || b[1] - a[1]);
  table(element, rows.length ? rows.slice(0, 200) : [["none"]]);
}

export function times(element, store, time) {
  const told = store.figures.times.value(time) ?? {};
  table(element, Object.entries(TIMES).map(([name, title]) => {
    const found = told[name];
    return [title, ...[0, 1, 2].map((index) => seconds(found?.[index])), found ? found[3].toLocaleString("en") : "0"];
  }));
}

export function pins(element, store, time) {
  const told = store.figures.pins.value(time) ?? {};
  const items = PINS.map((name) => make("li", {}, make("b", {}, (told[name] ?? 0).toLocaleString("en")), ` ${name}`));
  swap(element, JSON.stringify(told), items);
}

export function policy(element, store, time) {
  const told = store.figures.policy.value(time);
  if (!told) return;
  const series = store.figures.policy;
  const earlier = series.values.slice(0, Math.max(series.place(time), 0)).slice(-5).reverse();
  const parts = Object.entries(told.parts).flatMap(([kind, part]) => {
    const parameters = Object.entries(part.parameters).map(([name, value]) => `${name} = ${value}`).join(", ");
    return [make("dt", {}, kind), make("dd", {}, part.name, parameters ? make("small", {}, ` ${parameters}`) : "")];
  });
  const past = earlier.map((each) => make("p", { class: "quiet" }, `before ${clock(store, told.at)}: ${each.name}`));
  swap(element, JSON.stringify([told, earlier.length]), [make("p", { class: "quiet" }, make("b", {}, told.name)), make("dl", {}, ...parts), ...past.slice(0, 1)]);
}

export function tuner(element, store, time) {
  const notes = (store.figures.tuner.value(time) ?? []).filter(([date]) => date <= store.date + time + 2);
  const lines = notes.slice().reverse().map(([date, text]) => make("p", {}, make("small", {}, `${wall(date)} `), text));
  swap(element, JSON.stringify([notes.length, notes.at(-1)]), lines.length ? lines : [make("p", { class: "quiet" }, "no search has been made")]);
}

function swap(element, text, children) {
  if (element.dataset.told === text) return;
  element.dataset.told = text;
  element.replaceChildren(...children);
}

const wall = (date) => new Date(date * 1000).toLocaleTimeString("en-GB");
export const clock = (store, time) => wall(store.date + time);
