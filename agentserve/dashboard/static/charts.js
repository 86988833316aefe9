// Lines over time, by uPlot, which is fetched when there is a first line to draw.
import { make, seconds } from "./words.js";

const POINTS = 600;
const WHOLE = [1, 2, 5].flatMap((step) => [0, 1, 2, 3, 4, 5, 6].map((power) => step * 10 ** power)).sort((a, b) => a - b);
const LIBRARY = "/dashboard/vendor/uPlot-1.6.32.min";

let asked = false;

// Whether the library is there; asks for it the first time.
function ready() {
  if (!asked) {
    asked = true;
    document.head.append(make("link", { rel: "stylesheet", href: `${LIBRARY}.css` }), make("script", { src: `${LIBRARY}.js` }));
  }
  return "uPlot" in globalThis;
}

export class Chart {
  #plot = null;
  #ink = "";

  // `lines`: names and colours (names of custom properties); `read(value)`: their numbers, of one value of the series.
  // `whole`: the numbers are counts, and so are the axis' marks.
  constructor(element, lines, read, { write = seconds, whole = false } = {}) {
    this.whole = whole;
    this.element = element;
    this.lines = lines;
    this.read = read;
    this.write = write;
    const caption = element.previousElementSibling;
    caption.append(...lines.flatMap(({ name, tone }) => [make("i", { class: "key", ink: `var(${tone})` }), name]));
    this.name = caption.firstChild.textContent.trim();
    new ResizeObserver(() => this.#fit()).observe(element);
  }

  draw(series, from, to, colours) {
    const data = this.#data(series, from, to);
    const last = data.slice(1).map((values) => values.at(-1));
    const known = data[0].length > 1 && last.some((value) => value !== null);
    const told = this.lines.map(({ name }, index) => `${name} ${last[index] === null || last[index] === undefined ? "none" : this.write(last[index])}`);
    const label = `${this.name}: ${known ? told.join(", ") : "nothing yet"}`;
    if (this.element.ariaLabel !== label) this.element.ariaLabel = label;
    if (!known) {
      if (this.#plot) this.#end();
      if (!this.element.firstChild) this.element.append(make("p", { class: "none" }, "nothing has ended yet"));
      return;
    }
    if (!ready()) return; // it is drawn the next time
    if (this.#plot && this.#ink !== colours.text) this.#end();
    if (!this.#plot) this.#begin(data, colours);
    this.#plot.setData(data, false);
    this.#plot.batch(() => {
      this.#plot.setScale("x", { min: from, max: to });
      const top = Math.max(...data.slice(1).flat().filter((value) => value !== null));
      this.#plot.setScale("y", { min: 0, max: top > 0 ? top * 1.1 : 1 });
    });
  }

  // At most `POINTS` points, evenly in time; each holds until the next.
  #data(series, from, to) {
    const data = [[], ...this.lines.map(() => [])];
    const begin = Math.max(series.at[0] ?? to, from);
    const step = Math.max((to - begin) / POINTS, 0.05);
    let place = series.place(begin);
    for (let time = begin; time <= to; time += step) {
      while (place + 1 < series.at.length && series.at[place + 1] <= time) place += 1;
      const numbers = place < 0 ? null : this.read(series.values[place]);
      data[0].push(time);
      this.lines.forEach((_, index) => data[index + 1].push(numbers?.[index] ?? null));
    }
    return data;
  }

  #begin(data, colours) {
    this.element.replaceChildren();
    this.#ink = colours.text;
    const style = getComputedStyle(document.documentElement);
    const axis = { stroke: colours.quiet, grid: { stroke: colours.line, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    this.#plot = new uPlot({
      width: this.element.clientWidth || 300, height: 110, padding: [6, 4, 0, 0],
      cursor: { show: false }, legend: { show: false }, select: { show: false },
      scales: { x: { time: false, auto: false }, y: { auto: false } },
      axes: [
        { ...axis, size: 4, values: (_, marks) => marks.map(() => "") },
        { ...axis, size: 48, values: (_, marks) => marks.map((mark) => this.write(mark)), space: 26, ...(this.whole && { incrs: WHOLE }) },
      ],
      series: [{}, ...this.lines.map(({ tone }) => ({ stroke: style.getPropertyValue(tone).trim(), width: 1.5, points: { show: false } }))],
    }, data, this.element);
  }

  #end() {
    this.#plot.destroy();
    this.#plot = null;
    this.element.replaceChildren();
  }

  #fit() {
    this.#plot?.setSize({ width: this.element.clientWidth, height: 110 });
  }
}
