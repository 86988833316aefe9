// What is known of one program or one engine, beside the rest.
import { STATES } from "./states.js";
import { clock } from "./figures.js";
import { ask } from "./stream.js";
import { make, seconds, tokens } from "./words.js";

const REFRESH = 2000;
const HOLDERS = 100;

export class Details {
  #timer = null;
  #from = null;
  #turn = 0;
  #stories = new Map();

  constructor(panel, store, time) {
    this.panel = panel;
    this.store = store;
    this.time = time;
    this.title = panel.querySelector("#details-title");
    this.body = panel.querySelector("#details-body");
    panel.querySelector("#close").addEventListener("click", () => this.close());
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  program(program) {
    this.#open(`Program ${program.id}`, () => this.#showProgram(program));
  }

  engine(name) {
    this.#open(`Engine ${name}`, () => this.#showEngine(name));
  }

  close() {
    clearInterval(this.#timer);
    this.#turn += 1;
    this.panel.hidden = true;
    if (this.#from?.isConnected) this.#from.focus();
  }

  #open(title, show) {
    if (this.panel.hidden) this.#from = document.activeElement;
    clearInterval(this.#timer);
    this.#turn += 1;
    this.#stories.clear();
    this.title.textContent = title;
    this.body.replaceChildren();
    this.panel.hidden = false;
    this.panel.scrollTop = 0;
    this.title.focus();
    show();
    this.#timer = setInterval(show, REFRESH);
  }

  async #showProgram(program) {
    const turn = this.#turn;
    const query = new URLSearchParams({ program: program.id, tenant: program.tenant });
    let calls = [];
    let problem = "";
    try {
      ({ calls } = await ask(`/agentserve/v1/calls?${query}`));
    } catch (error) {
      problem = `its calls cannot be shown: ${error.message}`;
    }
    if (turn !== this.#turn) return;
    const time = this.time();
    const doing = program.doing(time);
    const facts = [
      ["now", doing ? `${STATES[doing[0]].name}: ${STATES[doing[0]].means}` : "it has ended"],
      ["engine", doing?.[1] ?? "none"],
      ["KV held", doing ? `${doing[2].toLocaleString("en")} tokens` : "none"],
      ["pin", doing?.[3] > time ? `for another ${seconds(doing[3] - time)}` : "none"],
      ["calls", doing ? `${doing[5]} run, ${doing[4]} wait, ${doing[6]} finished` : ""],
      ["tenant", program.tenant], ["workflow", program.workflow || "–"], ["parent", program.parent ?? "–"],
      ["arrived", clock(this.store, program.arrived)],
    ];
    const part = problem
      ? make("p", { class: "bad" }, problem)
      : calls.length ? this.#calls(calls, program) : make("p", { class: "quiet" }, "No call of it has been seen since somebody began to watch.");
    this.#replace(facts, make("h3", {}, "Calls"), part);
  }

  #calls(calls, program) {
    const head = ["call", "arrived", "waited", "engine", "to first token", "whole", "prompt", "cached", "output", "status", ""];
    const body = calls.flatMap((call, index) => this.#call(call, index, program));
    return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Calls" }, make("table", {},
      make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...body)));
  }

  #call(call, index, program) {
    const count = (value) => (value === null ? "–" : value.toLocaleString("en"));
    const cells = [
      call.stage || index + 1, `+${seconds(Math.max(call.arrived - program.arrived, 0))}`,
      call.queued === null ? `${seconds(this.time() - call.arrived)} so far` : seconds(call.queued), call.engine ?? "–",
      call.first_token === null ? "–" : seconds(call.first_token - call.arrived),
      call.ended === null ? "–" : seconds(call.ended - call.arrived),
      count(call.prompt), count(call.cached), count(call.output), call.reason ? `${call.status}: ${call.reason}` : call.status,
    ];
    const story = this.#stories.get(call.call);
    const button = make("button", { type: "button", "aria-expanded": String(Boolean(story)), "aria-label": `Story of call ${cells[0]}`, "data-call": call.call, onclick: () => this.#toggle(call.call, program) }, story ? "Hide" : "Story");
    const rows = [
      make("tr", {}, ...cells.map((cell) => make("td", {}, String(cell))), make("td", { rowspan: "2" }, button)),
      make("tr", { class: "said" }, make("td", { colspan: "10" }, call.waited)),
    ];
    return story ? [...rows, make("tr", {}, make("td", { colspan: "11", class: "story" }, ...story))] : rows;
  }

  async #toggle(call, program) {
    if (this.#stories.delete(call)) return this.#showProgram(program);
    this.#stories.set(call, [make("p", { class: "quiet" }, "reading the event log …")]);
    await this.#showProgram(program);
    const story = await tell(call);
    if (this.#stories.has(call)) this.#stories.set(call, story);
    return this.#showProgram(program);
  }

  async #showEngine(name) {
    const time = this.time();
    const row = this.store.engines.get(name)?.value(time);
    if (!row) return this.#replace([["status", "it is not known then"]]);
    const [model, status, capacity, free, active, retained, left, foreign, running, members, queued] = row;
    const share = (value) => `${value.toLocaleString("en")} tokens${capacity ? ` (${Math.round((100 * value) / capacity)} %)` : ""}`;
    const holders = this.store.holders(name, time);
    const facts = [
      ["status", status], ["model", model], ["KV", `${capacity.toLocaleString("en")} tokens`], ["active", share(active)],
      ["retained", share(retained)], ["left in gaps, without a pin", share(left)], ["of requests that are not ours", share(foreign)],
      ["free", share(Math.max(free, 0))], ["calls", `${running} run, ${queued} of them wait inside`], ["programs that have a place", members.toLocaleString("en")],
    ];
    const items = holders.slice(0, HOLDERS).map(({ program, state, tokens: held }) => make("li", {}, make("button", { type: "button", onclick: () => this.program(program) },
      make("i", { ink: `var(${STATES[state].tone})`, "aria-hidden": "true" }), make("span", {}, `${program.id}, ${STATES[state].name}`), make("span", {}, `${tokens(held)} tokens`))));
    const more = holders.length > HOLDERS ? [make("p", { class: "quiet" }, `and ${holders.length - HOLDERS} more`)] : [];
    const list = items.length ? make("ul", { class: "holders" }, ...items) : make("p", { class: "quiet" }, "No program holds any of it.");
    return this.#replace(facts, make("h3", {}, "What holds its KV"), list, ...more);
  }

  // Puts new content in place, and the focus back where it was.
  #replace(facts, ...parts) {
    const focused = [...this.body.querySelectorAll("button, [tabindex]")].indexOf(document.activeElement);
    const scrolled = this.body.querySelector(".scroll")?.scrollLeft ?? 0;
    const list = make("dl", {}, ...facts.filter(([, text]) => text).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
    this.body.replaceChildren(list, ...parts);
    if (focused >= 0) this.body.querySelectorAll("button, [tabindex]")[focused]?.focus({ preventScroll: true });
    const scroll = this.body.querySelector(".scroll");
    if (scroll) scroll.scrollLeft = scrolled;
  }
}

async function tell(call) {
  try {
    const { moments } = await ask(`/agentserve/v1/calls/${encodeURIComponent(call)}/story`);
    return moments.map(({ at, text }) => make("p", {}, make("time", {}, `${at < 0 ? "−" : "+"}${Math.abs(at).toFixed(3)} s`), text));
  } catch (error) {
    return [make("p", { class: "quiet" }, error.message)];
  }
}
