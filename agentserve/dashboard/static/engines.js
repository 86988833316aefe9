// The engines: what holds the KV of each, a sliver a program.
import { GAP, RETAINED, isActive } from "./states.js";
import { make, say, tokens } from "./words.js";

const SHOWN = 64;

export class Engines {
  #cards = new Map();

  constructor(list, open) {
    this.list = list;
    this.open = open;
  }

  draw(store, time, colours) {
    const there = [...store.engines].slice(0, SHOWN);
    for (const [name, series] of there) {
      const row = series.value(time);
      const card = this.#cards.get(name) ?? this.#add(name);
      card.item.hidden = !row;
      if (row) fill(card, name, row, store.holders(name, time), colours);
    }
    for (const [name, card] of this.#cards) if (!store.engines.has(name)) this.#drop(name, card);
    if (!there.length && !this.list.children.length) this.list.append(make("li", { class: "quiet" }, "no engine is known yet"));
  }

  #add(name) {
    if (!this.#cards.size) this.list.replaceChildren();
    const card = {
      model: make("i"), status: make("i"), text: make("small"), count: make("i"),
      canvas: make("canvas", { "aria-hidden": "true" }),
    };
    const head = make("span", { class: "name" }, make("b", { title: name }, name), card.model, make("span", { class: "space" }), card.status, card.count);
    card.item = make("li", {}, make("button", { type: "button", onclick: () => this.open(name) }, head, card.canvas, card.text));
    this.list.append(card.item);
    this.#cards.set(name, card);
    return card;
  }

  #drop(name, card) {
    card.item.remove();
    this.#cards.delete(name);
  }
}

function fill(card, name, row, holders, colours) {
  const [model, status, capacity, free, active, retained, left, foreign, running, members, queued] = row;
  say(card.model, model);
  say(card.status, status === "up" ? "" : status);
  card.status.className = status === "up" ? "" : "bad";
  say(card.count, capacity ? `${running} calls, ${members} programs` : "");
  const rest = left ? ` · left ${tokens(left)}` : "";
  const inside = queued ? ` · ${queued} wait inside` : "";
  const others = foreign ? ` · others ${tokens(foreign)}` : "";
  say(card.text, capacity
    ? `active ${tokens(active)} · retained ${tokens(retained)}${rest}${others} · free ${tokens(Math.max(free, 0))} of ${tokens(capacity)}${inside}`
    : "it has not been up yet");
  if (capacity) paint(card.canvas, { capacity, free, foreign }, holders, colours);
}

// Slivers from the left: active, retained, left, others. What programs share counts once: they are drawn narrower for it.
function paint(canvas, { capacity, free, foreign }, holders, colours) {
  const scale = devicePixelRatio;
  const width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (!width) return;
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.fillStyle = colours.free;
  pen.fillRect(0, 0, width, height);
  const held = holders.reduce((sum, holder) => sum + holder.tokens, 0);
  const room = Math.min(Math.max(capacity - Math.max(free, 0) - foreign, 0), capacity);
  const each = held ? (Math.min(held, room) / held) * (width / capacity) : 0;
  let x = 0;
  for (const { state, tokens: size } of holders) {
    const wide = size * each;
    pen.fillStyle = colours.states[state];
    if (state === RETAINED) pen.fillRect(x, height * 0.25, wide, height * 0.5);
    else if (!isActive(state)) pen.fillRect(x, height * 0.42, wide, height * 0.16);
    else pen.fillRect(x, 0, wide, height);
    if (wide > 3 * scale) {
      pen.fillStyle = colours.free;
      pen.fillRect(x + wide - scale, 0, scale, height);
    }
    x += wide;
  }
  pen.fillStyle = colours.foreign;
  pen.fillRect(x, height * 0.15, (foreign / capacity) * width, height * 0.7);
}

export const MEMORY = [
  { text: "active", state: 3, look: "full" },
  { text: "retained", state: RETAINED, look: "half" },
  { text: "left in a gap, without a pin", state: GAP, look: "thin" },
  { text: "free", state: null, look: "hollow" },
];
