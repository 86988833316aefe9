"""How events, time and the brain's cost grow from 10 to 1,000 engines, at the same load an engine.

    python -m tests.benchmarks.scale [--json FILE] [--engines 10,32,100,316,1000] [--policy agentserve]

Every fleet gets the same number of programs an engine, arriving in the same span of virtual time, so that whatever
grows faster than the fleet grows because of the fleet.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scheduler.policy import PRESETS
from simulator.fleet import parse_fleet
from simulator.world import simulate
from workloads.arrivals import poisson_arrivals
from workloads.generate import SWE_AGENT, generate
from workloads.program import Program

PER_ENGINE = 4
"""Programs an engine: about 44 calls, each of some ten events."""
SPAN_S = 120.0
"""Seconds in which they arrive."""


@dataclass(frozen=True, slots=True)
class Growth:
    """One fleet. Times are of one core; `sim_s` is virtual."""

    engines: int
    programs: int
    calls: int
    sim_s: float
    wall_s: float
    calls_per_s: float
    events_per_call: float
    brain_events_per_call: float
    brain_us_per_event: float


def arriving(engines: int) -> Iterator[Program]:
    programs = engines * PER_ENGINE
    return poisson_arrivals(generate(SWE_AGENT, programs, 1), programs / SPAN_S, 1)


def measure(engines: int, policy: str) -> Growth:
    """Simulates one fleet. Making the programs is not counted."""
    programs = list(arriving(engines))
    simulation = simulate(programs, parse_fleet(f"{engines}xA100", "llama-3.1-8b"), PRESETS[policy], seed=1)
    cost, calls = simulation.cost, sum(program.calls for program in simulation.programs)
    return Growth(
        engines=engines,
        programs=len(programs),
        calls=calls,
        sim_s=simulation.makespan,
        wall_s=cost.wall,
        calls_per_s=calls / cost.wall,
        events_per_call=cost.events / calls,
        brain_events_per_call=cost.brain_events / calls,
        brain_us_per_event=1e6 * cost.brain / cost.brain_events,
    )


def show(growth: Growth) -> str:
    return (
        f"{growth.engines:5} engines  {growth.calls:6,} calls  {growth.calls_per_s:7,.0f} calls/s  "
        f"{growth.events_per_call:4.1f} events/call  brain {growth.brain_us_per_event:6.1f} us an event"
    )


def fleets(text: str) -> Sequence[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--engines", type=fleets, default=fleets("10,32,100,316,1000"))
    parser.add_argument("--policy", default="agentserve", choices=sorted(PRESETS))
    options = parser.parse_args()
    found = []
    for engines in options.engines:
        found.append(measure(engines, options.policy))
        sys.stdout.write(show(found[-1]) + "\n")
        sys.stdout.flush()
    if options.json is not None:
        content = {"command": "python -m tests.benchmarks.scale", "policy": options.policy}
        options.json.write_text(json.dumps({**content, "fleets": [asdict(each) for each in found]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
