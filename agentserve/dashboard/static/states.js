// What a program may be doing, in the order of the feed's numbers, and how each is drawn: not by colour alone.
export const STATES = [
  { name: "queued", tone: "--queued", look: "tray", means: "its call stands in the gateway's line" },
  { name: "prefill", tone: "--prefill", look: "full", means: "its call is on an engine, and has no token yet" },
  { name: "moved", tone: "--moved", look: "striped", means: "prefill on another engine than the one that has its KV" },
  { name: "decode", tone: "--decode", look: "full", means: "tokens come" },
  { name: "retained", tone: "--retained", look: "half", means: "between calls, its KV pinned or its memory reserved" },
  { name: "gap", tone: "--gap", look: "thin", means: "between calls, its KV there only while nobody needs the room" },
];
export const [QUEUED, PREFILL, MOVED, DECODE, RETAINED, GAP] = STATES.keys();

export const isActive = (state) => state === PREFILL || state === MOVED || state === DECODE;

// The colours as the theme has them now.
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    states: STATES.map((state) => read(state.tone)),
    text: read("--text"), quiet: read("--quiet"), line: read("--line"), ground: read("--ground"), focus: read("--focus"),
    foreign: read("--foreign"), free: read("--free"), panel: read("--panel"),
  };
}
