"""Runs the same programs on each side, one side after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentserve.demo.arms import MODEL_NAME, Side
from agentserve.demo.outcome import ArmOutcome, pins_since
from workloads.arrivals import poisson
from workloads.client import ReplayEvent, replay
from workloads.generate import SMALL, generate
from workloads.program import Program
from workloads.records import summarise
from workloads.synth import DEFAULT_RATIO, Ratio

OnEvent = Callable[[ReplayEvent], None]
SETTLE_S = 3.0
"""After a replay, until the last pins have been reported."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The benchmark's programs: 4-9 turns, tools of a second or so, contexts of which five fill the engine."""

    programs: int = 16
    ratio: Ratio = DEFAULT_RATIO

    def at_once(self, seed: int) -> list[Program]:
        """All of them arrive at time zero."""
        return generate(SMALL, self.programs, seed)

    def arriving(self, seed: int, rate_per_s: float) -> list[Program]:
        """They arrive as a Poisson process."""
        return poisson(self.at_once(seed), rate_per_s, seed)


async def run(
    side: Side,
    programs: Sequence[Program],
    workload: Workload,
    on_event: OnEvent | None = None,
    *,
    skip_idle: bool = False,
) -> ArmOutcome:
    """Replays the programs on one side that is up."""
    before = await side.pins()
    records = await replay(programs, side.url, MODEL_NAME, ratio=workload.ratio, skip_idle=skip_idle, on_event=on_event)
    await asyncio.sleep(SETTLE_S)
    return ArmOutcome(side.name, records, pins_since(before, await side.pins()))


async def saturated_rate(side: Side, workload: Workload, seed: int, on_event: OnEvent | None = None) -> float:
    """L: programs per second that a side completes when all are there at once."""
    outcome = await run(side, workload.at_once(seed), workload, on_event)
    return workload.programs / summarise(outcome.records).makespan_s
