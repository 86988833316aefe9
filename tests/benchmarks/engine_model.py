"""What a call costs the engine model alone: no brain, no clients, no SimPy.

Two loads: a coding agent's (contexts that grow to 100,000 tokens, about 97 % of each prompt cached, memory for a part
of the programs only, pins through the gaps) and short calls. Each is run on one engine whose profile is a big GPU's.
As for the gateway's brain, outputs tell of a call's first token, of its last, and when it has more than was expected.

    python -m tests.benchmarks.engine_model [--json FILE] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import heapq
import json
import platform
import pstats
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from simulator.content import Extent
from simulator.engine import Engine, EngineConfig
from simulator.profile import StepProfile
from simulator.request import Request

GPU = StepProfile("gpu", "round numbers of a big GPU", 0.008, 5e-5, 1e-9, 2e-5, 2e-8)


@dataclass(frozen=True, slots=True)
class Load:
    """Programs that make calls one behind the other, `together` of them at a time."""

    name: str
    config: EngineConfig
    programs: int
    together: int
    turns: int
    first: int
    """Tokens of the first prompt."""
    added: int
    """Tokens that each further prompt adds to the context before it."""
    output: int
    gap: float
    """Mean seconds between a call's end and the program's next."""
    ttl: float


AGENTS = Load(
    "coding agent",
    EngineConfig(60_000, 16, 131_072, 256, 8192),
    programs=120,
    together=20,
    turns=50,
    first=20_000,
    added=1_500,
    output=250,
    gap=5.0,
    ttl=20.0,
)
SHORT = Load(
    "short calls",
    EngineConfig(30_000, 16, 131_072, 256, 8192),
    programs=1000,
    together=200,
    turns=8,
    first=1_500,
    added=300,
    output=120,
    gap=0.5,
    ttl=0.0,
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one load. A step of the driver may be a run of the engine's."""

    load: str
    calls: int
    calls_per_s: float
    us_per_call: float
    us_per_event: float
    events_per_call: float
    outputs_per_call: float
    cached_share: float
    preemptions: int
    simulated_s: float


class Mill:
    """The programs of a load, on one engine."""

    def __init__(self, load: Load, seed: int) -> None:
        self.load = load
        self.random = random.Random(seed)
        self.engine = Engine(load.config, GPU)
        self.due: list[tuple[float, int, int]] = []
        self.contexts: dict[int, tuple[Extent, ...]] = {}
        self.turns: dict[int, int] = {}
        self.waiting = iter(range(load.programs))
        self.calls = self.prompt = self.cached = self.events = self.outputs = 0
        self.spent = 0
        self.now = 0.0

    def run(self) -> Cost:
        for program, _ in zip(self.waiting, range(self.load.together), strict=False):
            heapq.heappush(self.due, (self.random.random() * self.load.gap, program, 0))
        while self.due or self.engine.next_time is not None:
            ends = self.engine.next_time
            if self.due and (ends is None or self.due[0][0] <= ends):
                self.now, program, _ = heapq.heappop(self.due)
                self.call(program)
            elif ends is not None:
                self.now = ends
                self.step()
        return self.cost()

    def call(self, program: int) -> None:
        """The program's next call arrives."""
        turn = self.turns[program] = self.turns.get(program, -1) + 1
        load, draw = self.load, self.random
        output = 1 + int(draw.expovariate(1 / load.output))
        size = load.first if not turn else 1 + int(draw.expovariate(1 / load.added))
        content = (program << 20) + 2 * turn
        past = self.contexts.get(program, (Extent(1, load.first // 2),))
        prompt = (*past, Extent(content, size))
        context = (*prompt, Extent(content + 1, output))
        tokens = sum(extent.length for extent in context) - output
        if tokens + output > load.config.max_model_len:
            self.turns[program] = load.turns
            self.end(program)
            return
        self.contexts[program] = context
        self.prompt += tokens
        name = str(program)
        request = Request(f"{name}:{turn}", tokens, output, context, program, name, program, load.ttl, self.load.output)
        begin = time.process_time_ns()
        self.engine.add(request, self.now)
        if self.engine.next_time is None:
            self.engine.step(self.now)
        self.spent += time.process_time_ns() - begin
        self.events += 1

    def step(self) -> None:
        begin = time.process_time_ns()
        outputs = self.engine.step(self.now).outputs
        for output in outputs:
            if output.produced > self.load.output:
                self.engine.hush(output.request, 2 * output.produced)
        self.spent += time.process_time_ns() - begin
        self.events += 1
        self.outputs += len(outputs)
        for output in outputs:
            if output.finished:
                self.calls += 1
                self.cached += output.cached
                self.end(int(output.request.partition(":")[0]))

    def end(self, program: int) -> None:
        """A call has ended: after a gap comes the next, or another program."""
        if self.turns[program] + 1 < self.load.turns:
            heapq.heappush(self.due, (self.now + self.random.expovariate(1 / self.load.gap), program, 0))
            return
        self.contexts.pop(program, None)
        for other in self.next_program():
            heapq.heappush(self.due, (self.now, other, 0))

    def next_program(self) -> Iterator[int]:
        found = next(self.waiting, None)
        if found is not None:
            yield found

    def cost(self) -> Cost:
        spent = self.spent / 1000
        return Cost(
            self.load.name,
            self.calls,
            round(self.calls / spent * 1e6),
            round(spent / self.calls, 1),
            round(spent / self.events, 1),
            round(self.events / self.calls, 2),
            round(self.outputs / self.calls, 2),
            round(self.cached / self.prompt, 3),
            self.engine.preemptions,
            round(self.now),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    out, costs = sys.stdout, []
    for load in (AGENTS, SHORT):
        profiler = cProfile.Profile()
        if options.profile:
            profiler.enable()
        cost = Mill(load, options.seed).run()
        profiler.disable()
        costs.append(cost)
        out.write(f"{cost.load}: {cost.calls} calls, {cost.calls_per_s} calls/s, {cost.us_per_call} us a call, ")
        out.write(
            f"{cost.events_per_call} events and {cost.outputs_per_call} outputs a call, {cost.us_per_event} us an event, "
        )
        out.write(f"{cost.cached_share:.1%} cached, {cost.preemptions} preemptions, {cost.simulated_s} s\n")
        if options.profile:
            pstats.Stats(profiler, stream=out).sort_stats("tottime").print_stats(25)
    if options.json:
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        report = {"command": "python -m tests.benchmarks.engine_model", "machine": machine}
        options.json.write_text(json.dumps({**report, "costs": [asdict(cost) for cost in costs]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
