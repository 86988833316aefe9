"use strict";

// Of the parts that a switch stands for, one is shown at a time; without a script, all are.
function show({ name, value, checked }) {
  for (const part of document.querySelectorAll(`[data-${name}="${value}"]`)) part.hidden = !checked;
}
for (const fieldset of document.querySelectorAll(".switch")) {
  const inputs = fieldset.querySelectorAll("input");
  const showAll = () => inputs.forEach(show);
  fieldset.addEventListener("change", showAll);
  showAll();
}

// A chart of rows tells what is under the pointer or, by the arrow keys, under its cursor.
for (const chart of document.querySelectorAll("figure.bars")) {
  const svg = chart.querySelector("svg");
  const cursor = chart.querySelector(".cursor");
  const names = JSON.parse(chart.dataset.rows);
  const { width, height } = svg.viewBox.baseVal;
  const seconds = Number(chart.dataset.seconds);
  const readout = chart.querySelector("output");
  const at = { row: 0, share: 0 };
  readout.textContent = "Point at a row, or use the arrow keys, to read it.";

  function tell() {
    const point = new DOMPoint(at.share * width, ((at.row + 0.5) * height) / names.length);
    const bars = [...svg.querySelectorAll("path[data-what]")].filter((bar) => bar.isPointInStroke(point));
    const bar = bars.at(-1);
    const detail = bar?.querySelector("title")?.textContent;
    const what = bar ? `${bar.dataset.what}${detail ? `: ${detail}` : ""}` : "nothing";
    cursor.setAttribute("d", `M0 ${point.y}H${width}M${point.x} 0V${height}`);
    readout.textContent =
      `${names[at.row]}, at ${(at.share * seconds).toFixed(seconds < 100 ? 1 : 0)} s: ${what}`;
  }

  const keys = {
    ArrowUp: () => (at.row -= 1), ArrowDown: () => (at.row += 1),
    PageUp: () => (at.row -= 10), PageDown: () => (at.row += 10),
    ArrowLeft: () => (at.share -= 0.005), ArrowRight: () => (at.share += 0.005),
    Home: () => (at.share = 0), End: () => (at.share = 1),
  };
  chart.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
    at.row = Math.min(Math.max(at.row, 0), names.length - 1);
    at.share = Math.min(Math.max(at.share, 0), 1);
    tell();
  });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    at.share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    at.row = Math.min(Math.max(Math.floor(((event.clientY - box.top) / box.height) * names.length), 0), names.length - 1);
    tell();
  });
}
