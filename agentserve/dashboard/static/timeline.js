// The programs as rows: one canvas as large as the window on them, and elements only for the rows that are in sight.
import { GAP, QUEUED, RETAINED, STATES } from "./states.js";
import { seconds, tokens } from "./words.js";

const ROW = 18;
const NAMES = 160;
const AXIS = 22;
const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600];

export class Timeline {
  selected = null;
  #shown = [];
  #pool = [];
  #first = 0;

  constructor(element, tip, open) {
    this.element = element;
    this.tip = tip;
    this.open = open;
    this.canvas = element.querySelector("canvas");
    this.rows = element.querySelector(".rows");
    this.empty = element.querySelector(".empty");
    this.pen = this.canvas.getContext("2d");
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("click", (event) => this.#click(event));
    element.addEventListener("pointermove", (event) => this.#point(event));
    element.addEventListener("pointerleave", () => { this.tip.hidden = true; });
  }

  // The programs to show, in order.
  list(programs) {
    this.#shown = programs;
    this.rows.style.height = `${AXIS + programs.length * ROW}px`;
  }

  draw(time, from, to, colours) {
    this.view = { time, from, to };
    const { clientWidth: width, clientHeight: height } = this.element;
    this.#fit(width, height);
    const pen = this.pen;
    pen.fillStyle = colours.ground;
    pen.fillRect(0, 0, width, height);
    this.#axis(width, height, colours);
    this.#first = Math.floor(this.element.scrollTop / ROW);
    const count = Math.min(this.#shown.length - this.#first, Math.ceil((height - AXIS) / ROW) + 1);
    const shift = AXIS - (this.element.scrollTop - this.#first * ROW);
    pen.save();
    pen.beginPath();
    pen.rect(NAMES, AXIS, width - NAMES, height - AXIS);
    pen.clip();
    for (let index = 0; index < count; index += 1) {
      this.#stretches(this.#shown[this.#first + index], shift + index * ROW, width, colours);
    }
    this.#cursor(width, height, colours);
    pen.restore();
    this.#place(Math.max(count, 0), time);
  }

  say(text) {
    this.empty.hidden = !text;
    if (text) this.empty.textContent = text;
  }

  #fit(width, height) {
    const scale = devicePixelRatio;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    this.pen.setTransform(scale, 0, 0, scale, 0, 0);
  }

  #x(time, width) {
    const { from, to } = this.view;
    return NAMES + ((time - from) / (to - from)) * (width - NAMES - 8);
  }

  #axis(width, height, colours) {
    const { from, to, time } = this.view;
    const step = STEPS.find((each) => ((width - NAMES) * each) / (to - from) > 70) ?? 86400;
    const pen = this.pen;
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "center";
    // with the window on the present, marks count back from it; over the whole, from its beginning
    const zero = to <= time ? time : from;
    const first = Math.ceil((from - zero) / step);
    for (let mark = first; zero + mark * step <= to; mark += 1) {
      const x = Math.round(this.#x(zero + mark * step, width)) + 0.5;
      pen.strokeStyle = colours.line;
      pen.beginPath();
      pen.moveTo(x, AXIS);
      pen.lineTo(x, height);
      pen.stroke();
      pen.fillStyle = colours.quiet;
      pen.fillText(short(mark * step), Math.min(x, width - 24), 15);
    }
  }

  #stretches(program, y, width, colours) {
    const { from, to, time } = this.view;
    const { at, values } = program.series;
    const end = Math.min(program.end ?? time, to);
    for (let index = Math.max(program.series.place(from), 0); index < at.length && at[index] < end; index += 1) {
      const right = Math.min(at[index + 1] ?? end, end);
      const x = this.#x(Math.max(at[index], from), width);
      paint(this.pen, values[index][0], x, y, Math.max(this.#x(right, width) - x, 0.5), colours);
    }
  }

  #cursor(width, height, colours) {
    const x = this.#x(this.view.time, width);
    this.pen.strokeStyle = colours.focus;
    this.pen.beginPath();
    this.pen.moveTo(x, AXIS);
    this.pen.lineTo(x, height);
    this.pen.stroke();
  }

  // Puts an element where each row in sight is.
  #place(count, time) {
    while (this.#pool.length < count) {
      const row = document.createElement("div");
      row.className = "row";
      row.setAttribute("role", "option");
      row.id = `row-${this.#pool.length}`;
      row.append(document.createElement("span"));
      this.rows.append(row);
      this.#pool.push(row);
    }
    let active = "";
    for (const [index, row] of this.#pool.entries()) {
      const place = this.#first + index;
      const program = index < count ? this.#shown[place] : null;
      row.hidden = !program;
      if (!program) continue;
      const top = `${AXIS + place * ROW}px`;
      if (row.style.top !== top) row.style.top = top;
      if (row.firstChild.textContent !== program.id) row.firstChild.textContent = program.id;
      row.program = program;
      const doing = program.doing(time);
      row.classList.toggle("over", !doing);
      const label = `${program.id}, ${doing ? STATES[doing[0]].name : "ended"}`;
      if (row.ariaLabel !== label) row.ariaLabel = label;
      const selected = program === this.selected;
      if (row.ariaSelected !== String(selected)) row.ariaSelected = String(selected);
      if (selected) active = row.id;
      if (row.ariaPosInSet !== String(place + 1)) row.ariaPosInSet = String(place + 1);
      if (row.ariaSetSize !== String(this.#shown.length)) row.ariaSetSize = String(this.#shown.length);
    }
    if ((this.element.getAttribute("aria-activedescendant") ?? "") !== active) {
      this.element.setAttribute("aria-activedescendant", active);
    }
  }

  #key(event) {
    const place = this.#shown.indexOf(this.selected);
    const page = Math.max(1, Math.floor((this.element.clientHeight - AXIS) / ROW) - 1);
    const last = this.#shown.length - 1;
    const steps = { ArrowDown: place + 1, ArrowUp: place - 1, PageDown: place + page, PageUp: place - page, Home: 0, End: last };
    if (event.key in steps && last >= 0) {
      event.preventDefault();
      this.#select(Math.min(Math.max(steps[event.key], 0), last));
    } else if (event.key === "Enter" && this.selected) {
      event.preventDefault();
      this.open(this.selected);
    }
  }

  #select(place) {
    this.selected = this.#shown[place];
    const top = place * ROW;
    const height = this.element.clientHeight - AXIS;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + ROW > this.element.scrollTop + height) this.element.scrollTop = top + ROW - height;
  }

  #click(event) {
    const row = event.target.closest(".row");
    if (!row) return;
    this.selected = row.program;
    this.open(row.program);
  }

  // Says what is under the pointer.
  #point(event) {
    const row = event.target.closest(".row");
    const box = this.element.getBoundingClientRect();
    const x = event.clientX - box.left;
    this.tip.hidden = !row || !this.view || x < NAMES;
    if (this.tip.hidden) return;
    const { from, to } = this.view;
    const time = from + ((x - NAMES) / (this.element.clientWidth - NAMES - 8)) * (to - from);
    const text = told(row.program, time, this.view.time);
    this.tip.hidden = !text;
    if (!text) return;
    this.tip.textContent = text;
    const parent = this.tip.offsetParent.getBoundingClientRect();
    const left = Math.min(event.clientX - parent.left + 14, parent.width - this.tip.offsetWidth - 4);
    const below = event.clientY - parent.top + 16;
    const fits = below + this.tip.offsetHeight < parent.height;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${fits ? below : below - this.tip.offsetHeight - 26}px`;
  }
}

function told(program, time, now) {
  const place = program.series.place(time);
  const end = program.end ?? now;
  if (place < 0 || time > end) return "";
  const [state, engine, held, , waiting, running] = program.series.values[place];
  const begun = program.series.at[place];
  const until = Math.min(program.series.at[place + 1] ?? end, end);
  const on = engine && state !== QUEUED ? ` on ${engine}` : "";
  const many = waiting + running > 1 ? `\n${running} calls run, ${waiting} wait` : "";
  return `${program.id}\n${STATES[state].name}${on} for ${seconds(until - begun)}${held ? `, ${tokens(held)} tokens` : ""}${many}`;
}

const short = (value) => {
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  if (size < 60) return `${sign}${size} s`;
  if (size < 3600) return `${sign}${Math.floor(size / 60)}:${String(size % 60).padStart(2, "0")} min`;
  return `${sign}${Math.floor(size / 3600)}:${String(Math.floor(size / 60) % 60).padStart(2, "0")} h`;
};

// One stretch, by colour and by shape.
function paint(pen, state, x, y, width, colours) {
  pen.fillStyle = colours.states[state];
  if (state === GAP) {
    pen.fillRect(x, y + 8, width, 2);
  } else if (state === RETAINED) {
    pen.fillRect(x, y + 6, width, 6);
  } else if (STATES[state].look === "striped") {
    pen.fillRect(x, y + 3, width, 12);
    pen.fillStyle = colours.ground;
    for (let stripe = x + 3; stripe < x + width - 1; stripe += 5) pen.fillRect(stripe, y + 3, 1.5, 12);
  } else if (state === QUEUED) {
    pen.globalAlpha = 0.28;
    pen.fillRect(x, y + 3, width, 12);
    pen.globalAlpha = 1;
    pen.fillRect(x, y + 3, width, 1.5);
    pen.fillRect(x, y + 13.5, width, 1.5);
  } else {
    pen.fillRect(x, y + 3, width, 12);
  }
}
