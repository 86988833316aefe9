"""What one event costs the brain, and what one idle program weighs.

A closed world without engines: programs make calls with gaps between them, on engines too small for all of them, so
that the line is long, programs are admitted, make way and are pinned. Every event a real gateway would send is sent:
arrival, sent, first token, progress, finish, pin reports, scrapes, wakeups. Only `Brain.handle` is timed.

    python -m tests.benchmarks.brain_cost [--json docs/results/brain-cost.json]
"""

from __future__ import annotations

import argparse
import gc
import heapq
import json
import platform
import random
import statistics
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from scheduler.actions import Dispatch
from scheduler.brain import Brain
from scheduler.events import (
    CallArrived,
    CallFinished,
    CallFirstToken,
    CallProgressed,
    CallSent,
    EngineObserved,
    EngineUp,
    Event,
    PinOutcome,
    PinReported,
    Wakeup,
)
from scheduler.policy import PRESETS
from scheduler.types import DEFAULT_TENANT, CallId, EngineId, EngineSpec, PrefixMark, ProgramKey, Usage

MODEL = "m"
CONTEXT = 1000
TURNS = 8


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds an event, over all events of a run; by kind of event in `by_kind`."""

    preset: str
    programs: int
    engines: int
    events: int
    mean_us: float
    p50_us: float
    p99_us: float
    max_us: float
    by_kind: dict[str, float]
    shares: dict[str, float]


class Mill:
    """Programs in a circle: each makes `TURNS` calls, ends, and another takes its place."""

    def __init__(self, preset: str, programs: int, engines: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.brain = Brain(PRESETS[preset])
        self.due: list[tuple[float, int, Event]] = []
        self.now = 0.0
        self.count = 0
        self.samples: list[tuple[str, float]] = []
        self.turn: Counter[str] = Counter()
        self.program_of: dict[CallId, str] = {}
        self.wakeup: float | None = None
        room = programs * CONTEXT // engines // 3
        self.engines = [EngineId(f"e{number}") for number in range(engines)]
        for name in self.engines:
            spec = EngineSpec((MODEL,), room * 2, 16, 32768, retention=True, priority=True)
            self.brain.handle(EngineUp(0.0, name, spec))
        for name in self.engines:
            self.at(self.random.random(), EngineObserved(0.0, name, 0.0, 0, 0, 0))
        for number in range(programs):
            self.arrive(f"p{number}", self.random.random() * 5)

    def at(self, when: float, event: Event) -> None:
        self.count += 1
        heapq.heappush(self.due, (when, self.count, event))

    def arrive(self, program: str, when: float) -> None:
        self.turn[program] += 1
        turn = self.turn[program]
        self.count += 1
        call = CallId(f"{program}:{self.count}")
        self.program_of[call] = program
        size = (CONTEXT // 2 + turn * CONTEXT // TURNS) * 4
        seed = hash_of(program)
        marks = (PrefixMark(1, 800), *(PrefixMark(seed + step, 800 + step * 400) for step in range(1, 2 * turn)))
        key = ProgramKey(DEFAULT_TENANT, program)
        self.at(when, CallArrived(when, call, key, MODEL, size, marks, max_output=100, final=turn == TURNS))

    def run(self, events: int) -> list[tuple[str, float]]:
        """Times that many events, after as many for warming up."""
        for _ in range(2 * events):
            if len(self.samples) == events:
                self.samples.clear()
            self.step()
        return self.samples

    def step(self) -> None:
        when, _, event = self.due[0]
        if self.wakeup is not None and self.wakeup <= when:
            event = Wakeup(self.wakeup)
        else:
            heapq.heappop(self.due)
        self.now = max(self.now, event.at if isinstance(event, Wakeup) else when)
        event = moved_to(event, self.now)
        start = time.perf_counter_ns()
        decision = self.brain.handle(event)
        self.samples.append((type(event).__name__, (time.perf_counter_ns() - start) / 1000))
        self.wakeup = decision.next_wakeup
        for action in decision.actions:
            if isinstance(action, Dispatch):
                self.serve(action)
        self.follow(event)

    def serve(self, dispatch: Dispatch) -> None:
        call, expected = dispatch.call, dispatch.expected
        now, output = self.now, self.random.randint(20, 200)
        self.at(now, CallSent(now, call))
        first = now + self.random.random()
        self.at(first, CallFirstToken(first, call))
        while (expected := expected + 1) < output:  # as drivers tell: more than expected, then twice as much
            self.at(first + expected / 50, CallProgressed(0.0, call, expected))
            expected *= 2
        prompt = CONTEXT // 2 + self.turn[self.program_of[call]] * CONTEXT // TURNS
        self.at(first + output / 50, CallFinished(0.0, call, Usage(prompt, output, prompt // 2), ("bash",)))

    def follow(self, event: Event) -> None:
        if isinstance(event, CallFinished):
            program = self.program_of.pop(event.call)
            key = ProgramKey(DEFAULT_TENANT, program)
            self.at(self.now, PinReported(0.0, key, self.random.choice(self.engines), PinOutcome.APPLIED, 100))
            if self.turn[program] == TURNS:
                del self.turn[program]
                self.count += 1
                program = f"{program.split('.')[0]}.{self.count}"
            self.arrive(program, self.now + self.random.expovariate(1.0))
        elif isinstance(event, EngineObserved):
            self.at(self.now + 1.0, event)


def moved_to(event: Event, now: float) -> Event:
    """The event at another time, as a driver would have stamped it."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    values["at"] = now
    if isinstance(event, EngineObserved):
        values["as_of"] = now
    return type(event)(**values)


def hash_of(program: str) -> int:
    return sum(ord(letter) << (5 * index) for index, letter in enumerate(program)) << 8


def measure(preset: str, programs: int, engines: int, events: int, seed: int) -> Cost:
    mill = Mill(preset, programs, engines, seed)
    gc.collect()
    gc.disable()
    samples = mill.run(events)
    gc.enable()
    times = sorted(value for _, value in samples)
    kinds: dict[str, list[float]] = {}
    for kind, value in samples:
        kinds.setdefault(kind, []).append(value)
    return Cost(
        preset,
        programs,
        engines,
        len(times),
        round(statistics.fmean(times), 2),
        round(times[len(times) // 2], 2),
        round(times[len(times) * 99 // 100], 2),
        round(times[-1], 1),
        {kind: round(statistics.fmean(values), 2) for kind, values in sorted(kinds.items())},
        {kind: round(len(values) / len(times), 3) for kind, values in sorted(kinds.items())},
    )


def idle_program_bytes(programs: int = 2000, messages: int = 40) -> float:
    """Bytes the brain holds for a program in its gap, with a history of `messages` messages."""
    brain = Brain(PRESETS["agentserve"])
    spec = EngineSpec((MODEL,), 10**9, 16, 10**6, retention=True)
    brain.handle(EngineUp(0.0, EngineId("e"), spec))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(programs):
        key = ProgramKey(DEFAULT_TENANT, f"program-{number:08}")
        call = CallId(f"call-{number}")
        marks = tuple(PrefixMark((number << 40) + (step << 20), step * 400) for step in range(1, messages + 1))
        brain.handle(CallArrived(0.0, call, key, MODEL, messages * 400, marks))
        brain.handle(CallFinished(0.0, call, Usage(4000, 100, 0), ("bash",)))
        del marks
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return round(used / programs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--presets", default="vllm,continuum,agentserve", help="by commas; rivals may take minutes")
    options = parser.parse_args()
    costs = [
        measure(preset, programs, engines, options.events, seed)
        for seed in range(options.seeds)
        for programs, engines in ((100, 8), (1000, 32))
        for preset in options.presets.split(",")
    ]
    report = {
        "command": "python -m tests.benchmarks.brain_cost",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "idle_program_bytes": idle_program_bytes(),
        "costs": [asdict(cost) for cost in costs],
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    out = sys.stdout
    out.write(f"one idle program with 40 messages: {report['idle_program_bytes']} bytes\n")
    out.write(f"{'preset':<12}{'programs':>9}{'engines':>9}{'mean us':>9}{'p50':>8}{'p99':>8}{'max':>9}\n")
    for cost in costs:
        out.write(f"{cost.preset:<12}{cost.programs:>9}{cost.engines:>9}{cost.mean_us:>9}{cost.p50_us:>8}")
        out.write(f"{cost.p99_us:>8}{cost.max_us:>9}\n")


if __name__ == "__main__":
    main()
