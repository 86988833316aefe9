"""What the dashboard costs the gateway, and how its page fares, with 2,000 programs.

    python -m tests.benchmarks.dashboard [--programs 2000] [--slices 6] [--seconds 10] [--paints 20] [--json FILE] [--markdown FILE]

One process is the gateway: its brain, its engines (fakes that answer nothing) and programs whose calls it is told of without
HTTP. Slices of time in which nobody, one and four watch take turns; a slice counts CPU time of that process, so that other
work on the machine disturbs little. Watchers are processes of their own that read the feed. The page is then opened in
Chromium, which reports how long each of its pictures takes to draw; and again and again with nothing cached, for its first
paints.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median

from playwright.async_api import Browser

from tests.benchmarks.crowd import PACE, Pace, crowd
from tests.dashboard.browser import browser
from tests.gateway.world import World, eventually

WATCHERS = (0, 1, 4)
READER = """
import sys, time, urllib.request
frames = size = 0
told = 0.0
with urllib.request.urlopen(sys.argv[1] + "/agentserve/v1/watch") as feed:
    for line in feed:
        frames += line.startswith(b"data: ")
        size += len(line)
        if line == b"\\n" and time.monotonic() - told >= 1:
            told = time.monotonic()
            print(told, frames, size, flush=True)
"""
DRAWN = """async (milliseconds) => {
  const gaps = [], long = [];
  const observer = new PerformanceObserver((list) => long.push(...list.getEntries().map((each) => each.duration)));
  observer.observe({ type: "longtask" });
  await new Promise((done) => {
    const begin = performance.now();
    let last = begin;
    requestAnimationFrame(function next(now) {
      gaps.push(now - last); last = now;
      if (now - begin < milliseconds) requestAnimationFrame(next); else done();
    });
  });
  observer.disconnect();
  gaps.sort((a, b) => a - b);
  return { pictures: gaps.length, p50: gaps[Math.floor(gaps.length / 2)], p95: gaps[Math.floor(gaps.length * 0.95)],
    longest: gaps.at(-1), long: long.length, elements: document.querySelectorAll("*").length };
}"""
PAINT = """new Promise((done) => new PerformanceObserver((list) => {
  for (const each of list.getEntriesByName("first-contentful-paint")) done(each.startTime);
}).observe({ type: "paint", buffered: true }))"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a watcher is: its clock, frames and bytes."""

    at: float
    frames: int
    bytes: int

    def since(self, first: Progress) -> tuple[float, float]:
        """Frames and bytes a second since then."""
        passed = max(self.at - first.at, 1e-9)
        return (self.frames - first.frames) / passed, (self.bytes - first.bytes) / passed


@dataclass(frozen=True, slots=True)
class Slice:
    """So many seconds with so many watchers."""

    watchers: int
    cpu: float
    """Share of a core that the gateway took."""
    frames: float
    """Frames a second that the first watcher got; 0 without one."""
    bytes: float
    """Bytes a second of these."""
    calls: float
    """Calls a second that ended."""


@dataclass(frozen=True, slots=True)
class Painted:
    """The page in Chromium; times in milliseconds."""

    programs: int
    first_paints: Sequence[float]
    """Each with nothing cached, in a browser that has been started."""
    pictures: float
    """A second."""
    p50: float
    """From one picture to the next."""
    p95: float
    longest: float
    long_tasks: int
    """Of more than 50 ms, in the seconds that were looked at."""
    elements: int


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[list[Progress]]:
    """A process that reads the feed, and says once a second how far it is."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, url, stdout=asyncio.subprocess.PIPE)
    seen: list[Progress] = []

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            at, frames, size = line.split()
            seen.append(Progress(float(at), int(frames), int(size)))

    task = asyncio.create_task(read())
    try:
        yield seen
    finally:
        task.cancel()
        process.kill()
        await process.wait()


async def measured(w: World, watchers: int, seconds: float) -> Slice:
    """One slice, from when all watchers have had everything."""
    async with AsyncExitStack() as stack:
        seen = [await stack.enter_async_context(watching(w.url)) for _ in range(watchers)]
        await eventually(lambda: all(len(each) > 1 for each in seen), "the first frames of all watchers", 60)
        first = [each[-1] for each in seen]
        cpu, wall, ended = time.process_time(), time.monotonic(), _ended(w)
        await asyncio.sleep(seconds)
        passed = time.monotonic() - wall
        share, calls = (time.process_time() - cpu) / passed, (_ended(w) - ended) / passed
    frames, size = (seen[0][-1].since(first[0])) if seen else (0.0, 0.0)
    return Slice(watchers, share, frames, size, calls)


def _ended(w: World) -> float:
    """Calls so far."""
    value = w.driver.metrics.registry.get_sample_value("agentserve_calls_total", {"model": "m", "status": "finished"})
    return value or 0.0


async def painted(url: str, programs: int, seconds: float, paints: int) -> Painted:
    """The page, opened anew, looked at once it has drawn; and its first paints."""
    async with browser() as chromium:
        page = await chromium.new_page(viewport={"width": 1440, "height": 900})
        await page.goto(f"{url}/dashboard")
        await page.locator("#timeline .row" if programs else "#status[data-state=live]").first.wait_for(timeout=60_000)
        drawn = await page.evaluate(DRAWN, seconds * 1000)
        await page.close()
        return Painted(
            programs=programs,
            first_paints=[await first_paint(chromium, url) for _ in range(paints)],
            pictures=drawn["pictures"] / seconds,
            p50=drawn["p50"],
            p95=drawn["p95"],
            longest=drawn["longest"],
            long_tasks=drawn["long"],
            elements=drawn["elements"],
        )


async def first_paint(chromium: Browser, url: str) -> float:
    """From when the page is asked for to its first picture, in milliseconds, with nothing cached."""
    context = await chromium.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = await context.new_page()
        await page.goto(f"{url}/dashboard", wait_until="commit")
        return float(await page.evaluate(PAINT))
    finally:
        await context.close()


async def run(programs: int, slices: int, seconds: float, paints: int, pace: Pace) -> tuple[list[Slice], list[Painted]]:
    """All of it."""
    async with crowd(programs, pace=pace) as w:
        await asyncio.sleep(2 * pace.gap)  # until they are spread over all states
        found = []
        for number in range(slices):
            order = WATCHERS if number % 2 == 0 else WATCHERS[::-1]
            for watchers in order:
                found.append(await measured(w, watchers, seconds))
                print(f"{number + 1}/{slices}: {found[-1]}", file=sys.stderr)  # noqa: T201
    pages = []
    for count in (0, programs):
        async with crowd(count, pace=pace) as w:
            pages.append(await painted(w.url, count, seconds, paints))
            print(pages[-1], file=sys.stderr)  # noqa: T201
    return found, pages


def table(slices: Sequence[Slice], pages: Sequence[Painted]) -> str:
    """The figures as Markdown."""
    alone = [each.cpu for each in slices if each.watchers == 0]
    lines = [
        "| watchers | gateway's CPU, % of a core: median | of these for the feed | frames/s | KB/s a watcher | calls/s |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for watchers in WATCHERS:
        of = [each for each in slices if each.watchers == watchers]
        cpu = median(each.cpu for each in of)
        cells = [
            f"{100 * cpu:.1f}",
            f"{100 * (cpu - median(alone)):.1f}" if watchers else "",
            f"{mean(each.frames for each in of):.1f}" if watchers else "",
            f"{mean(each.bytes for each in of) / 1000:.0f}" if watchers else "",
            f"{mean(each.calls for each in of):.0f}",
        ]
        lines.append(f"| {watchers} | {' | '.join(cells)} |")
    lines += [
        "",
        "| programs | first paint, ms: median | longest | pictures/s | from one to the next, ms: p50 | p95 | longest | tasks over 50 ms | elements |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for page in pages:
        first = f"{median(page.first_paints):.0f} | {max(page.first_paints):.0f}"
        times = " | ".join(f"{value:.0f}" for value in (page.pictures, page.p50, page.p95, page.longest))
        lines.append(f"| {page.programs:,} | {first} | {times} | {page.long_tasks} | {page.elements} |")
    for page in pages:
        every = ", ".join(f"{each:.0f}" for each in page.first_paints)
        lines += ["", f"All first paints with {page.programs:,} programs, ms: {every}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--paints", type=int, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    slices, pages = asyncio.run(run(arguments.programs, arguments.slices, arguments.seconds, arguments.paints, PACE))
    text = table(slices, pages)
    print(text)  # noqa: T201
    if arguments.markdown:
        arguments.markdown.write_text(text)
    if arguments.json:
        figures = {
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
            "pace": asdict(PACE),
            "slices": [asdict(each) for each in slices],
            "pages": [asdict(each) for each in pages],
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
