// The page: hears the feed, keeps what it tells, and draws one moment of it.
import { Chart } from "./charts.js";
import { Clock } from "./clock.js";
import { Details } from "./details.js";
import { Engines, MEMORY } from "./engines.js";
import { Tiles, clock as wall, pins, policy, tenants, times, tuner } from "./figures.js";
import { QUEUED, STATES, palette } from "./states.js";
import { Store } from "./store.js";
import { follow, key } from "./stream.js";
import { Timeline } from "./timeline.js";
import { make, say, seconds } from "./words.js";

const PICTURE = 1000 / 30; // ms between two pictures of the timeline
const FIGURES = 250; // of what is beside it
const CHARTS = 1000;

const find = (name) => document.getElementById(name);
const store = new Store();
const clock = new Clock(store);
const details = new Details(find("details"), store, () => clock.time);
const timeline = new Timeline(find("timeline"), find("tip"), (program) => details.program(program));
const engines = new Engines(find("engines"), (name) => details.engine(name));
const tiles = new Tiles(find("tiles"));
const percentiles = (name) => [
  [{ name: "p50", tone: "--decode" }, { name: "p95", tone: "--prefill" }, { name: "p99", tone: "--queued" }],
  (told) => told[name]?.slice(0, 3),
];
const charts = [
  [new Chart(find("ttft"), ...percentiles("ttft")), () => store.figures.times],
  [new Chart(find("completion"), ...percentiles("program")), () => store.figures.times],
  [new Chart(find("line"), [{ name: "in line", tone: "--queued" }, { name: "on engines", tone: "--decode" }], (told) => told, {
    write: (value) => Math.round(value).toLocaleString("en"), whole: true,
  }), () => store.calls],
];
let colours = palette();

// --- what is shown ---------------------------------------------------------------------------------------------------

function span() {
  const chosen = Number(find("span").value);
  const time = clock.time;
  const start = store.start ?? 0;
  if (!chosen) return { from: start, to: Math.max(clock.end, start + 1) };
  // while little is known, the window is narrower, so that it is full
  const known = store.source === "live" && clock.isNow ? Math.max(20, time - start + 5) : chosen;
  return { from: time - Math.min(chosen, known), to: time };
}

const ORDERS = {
  arrival: (a, b) => a.arrived - b.arrived || a.slot - b.slot,
  latest: (a, b) => b.arrived - a.arrived || b.slot - a.slot,
  wait: (a, b) => waiting(a) - waiting(b) || a.arrived - b.arrived,
  tokens: (a, b) => (b.doing(clock.time)?.[2] ?? 0) - (a.doing(clock.time)?.[2] ?? 0) || a.arrived - b.arrived,
};

// When its wait began; those that do not wait come last.
function waiting(program) {
  const doing = program.doing(clock.time);
  return doing && doing[0] === QUEUED ? program.series.at[program.series.place(clock.time)] : Number.MAX_VALUE;
}

function chosen() {
  const { from, to } = span();
  const time = clock.time;
  const words = find("search").value.toLowerCase().trim();
  const [tenant, engine, state] = ["tenant", "engine", "state"].map((name) => find(name).value);
  return store.programs.filter((program) => {
    if (program.arrived > Math.min(to, time) || (program.end !== null && program.end < from)) return false;
    if (words && !program.text.includes(words)) return false;
    if (tenant && program.tenant !== tenant) return false;
    if (!engine && !state) return true;
    const doing = program.doing(time);
    return doing !== null && (!engine || doing[1] === engine) && (!state || doing[0] === Number(state));
  }).sort(ORDERS[find("order").value]);
}

function list() {
  const programs = chosen();
  timeline.list(programs);
  listed = programs.length;
  const untold = store.figures.more.value(clock.time) ?? 0;
  say(find("shown"), `${programs.length.toLocaleString("en")} shown${untold ? `, ${untold.toLocaleString("en")} more are there` : ""}`);
  const filtered = ["search", "tenant", "engine", "state"].some((name) => find(name).value);
  const why = store.source === null ? "" : filtered ? "No program is like that now." : "No program is here now. Each that makes a call gets a row.";
  timeline.say(programs.length ? "" : why);
}

function transport() {
  const slider = find("time");
  slider.min = String(Math.floor((store.start ?? 0) * 10) / 10);
  slider.max = String(Math.ceil(clock.end * 10) / 10);
  slider.value = String(clock.time);
  const text = store.date === null ? "" : clock.isNow && clock.playing && store.source === "live"
    ? `${wall(store, clock.time)} now` : `${wall(store, clock.time)}, −${seconds(Math.max(clock.end - clock.time, 0))}`;
  say(find("clock"), text);
  slider.setAttribute("aria-valuetext", text);
  say(find("play"), clock.playing ? "Stop" : "Play");
  find("now").disabled = clock.isNow && clock.playing === (store.source === "live");
}

function figures() {
  const time = clock.time;
  list();
  tiles.draw(store, time);
  engines.draw(store, time, colours);
  tenants(find("tenants"), store, time);
  times(find("times"), store, time);
  pins(find("pins"), store, time);
  policy(find("policy"), store, time);
  tuner(find("tuner"), store, time);
  options("tenant", (store.figures.tenants.value(time) ?? []).map(([name]) => name));
  options("engine", [...store.engines.keys()]);
  transport();
}

// Adds what one may choose; a choice that was made stays.
function options(name, values) {
  const select = find(name);
  const known = new Set([...select.options].map((option) => option.value));
  for (const value of values) if (!known.has(value)) select.append(make("option", { value }, value));
}

let drawn = ""; // what the timeline's picture was made of
let listed = 0;
const due = { picture: 0, figures: 0, charts: 0 };

function draw(now) {
  requestAnimationFrame(draw);
  if (now < due.picture) return;
  due.picture = now + PICTURE - 8;
  clock.tick();
  if (now >= due.figures) {
    due.figures = now + FIGURES;
    figures();
  }
  const { from, to } = span();
  const { clientWidth, clientHeight, scrollTop } = timeline.element;
  const pixels = Math.round((2 * clientWidth * clock.time) / (to - from)); // what moves by less than half of one is not seen
  const stamp = [store.version, pixels, to - from, clientWidth, clientHeight, scrollTop, timeline.selected?.key, listed, colours.text].join();
  if (stamp !== drawn) timeline.draw(clock.time, from, to, colours);
  drawn = stamp;
  if (now >= due.charts) {
    due.charts = now + CHARTS;
    for (const [chart, series] of charts) chart.draw(series(), Math.max(from, store.start ?? from), Math.min(to, clock.time), colours);
    store.forget();
  }
}

function soon() {
  drawn = "";
  Object.assign(due, { picture: 0, figures: 0, charts: 0 });
}

// --- what one does ---------------------------------------------------------------------------------------------------

function legends() {
  for (const state of STATES) {
    find("legend").append(make("li", { title: state.means }, make("i", { class: state.look, ink: `var(${state.tone})` }), state.name));
    find("state").append(make("option", { value: String(STATES.indexOf(state)) }, state.name));
  }
  for (const { text, state, look } of MEMORY) {
    find("memory-legend").append(make("li", {}, make("i", { class: look, ink: state === null ? "transparent" : `var(${STATES[state].tone})` }), text));
  }
}

function theme() {
  const select = find("theme");
  select.value = localStorage.getItem("agentserve.theme") ?? "system";
  const repaint = () => { colours = palette(); soon(); };
  select.addEventListener("change", () => {
    localStorage.setItem("agentserve.theme", select.value);
    if (select.value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = select.value;
    repaint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
}

function controls() {
  for (const name of ["search", "tenant", "engine", "state", "order", "span"]) find(name).addEventListener("input", soon);
  find("time").addEventListener("input", (event) => {
    clock.playing = false;
    clock.show(Number(event.target.value));
    soon();
  });
  find("play").addEventListener("click", () => { clock.toggle(); soon(); });
  find("now").addEventListener("click", () => { clock.now(); soon(); });
  find("speed").addEventListener("input", (event) => { clock.speed = Number(event.target.value); });
  clock.speed = Number(find("speed").value);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, button, textarea");
    if (event.key === "Escape" && details.isOpen) details.close();
    else if (event.key === "/" && !typing) { event.preventDefault(); find("search").focus(); }
    else if (event.key === " " && !typing) { event.preventDefault(); clock.toggle(); soon(); }
  });
}

function tell(state, text) {
  find("status").dataset.state = state;
  say(find("status"), text);
}

// Asks for a key, and waits until there is one.
function refused(message) {
  const form = find("door");
  form.hidden = false;
  say(find("door-problem"), key.get() ? message : "");
  find("key").focus();
  return new Promise((done) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      key.set(find("key").value.trim());
      find("key").value = "";
      form.hidden = true;
      done();
    }, { once: true });
  });
}

function hear(frame) {
  store.take(frame);
  clock.hear(frame.at);
  if (frame.whole && frame.source === "recorded") begin();
  if (frame.whole) tell("live", frame.source === "live" ? "live" : "reading the recording");
  if (frame.end) { tell("live", "a recording"); soon(); }
}

// A recording is shown whole, from its end, and does not go on by itself.
function begin() {
  clock.now();
  find("span").value = "0";
  find("speed-label").hidden = false;
  say(find("now"), "End");
}

legends();
theme();
controls();
requestAnimationFrame(draw);
follow(hear, tell, refused);
