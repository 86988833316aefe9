"""One policy on both sides: repetitions of a workload through a real gateway, and their twins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

import httpx

from agentserve.engines.base import EngineError
from agentserve.validation.outcome import Outcome, outcome
from agentserve.validation.served import ServedEngine, ServedGateway
from agentserve.validation.twin import counted, named, resized, simulate_replays
from scheduler.brain import IDLE_TIMEOUT
from scheduler.policy import PolicyConfig
from scheduler.types import Seconds
from simulator.fleet import EngineModel
from workloads.client import ReplayEvent, replay
from workloads.program import CallRef, Program
from workloads.records import CallRecord
from workloads.synth import DEFAULT_RATIO, Ratio, calibrate

SETTLE: Seconds = 3.0
"""After a replay, until the last pins have been reported."""

PATIENCE: Seconds = 3600.0
"""Beyond the time that gaps alone take, until what has not been answered counts as failed."""


def least_duration(programs: Sequence[Program]) -> Seconds:
    """How long a replay takes at least: to the end of the last program, if every answer came at once."""
    calls = {CallRef(program.id, call.id): (program, call) for program in programs for call in program.calls}
    graph = {ref: program.dependencies(call) for ref, (program, call) in calls.items()}
    ends: dict[CallRef, Seconds] = {}
    for ref in TopologicalSorter(graph).static_order():
        program, call = calls[ref]
        waits = zip(call.after, graph[ref], strict=True)
        ends[ref] = max([program.arrival_s, *(ends[before] + edge.gap_s for edge, before in waits)])
    return max(ends.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcomes of one policy, by repetition."""

    policy: str
    real: tuple[Outcome, ...]
    simulated: tuple[Outcome, ...]


async def measure(
    gateway: ServedGateway,
    model: str,
    replays: Sequence[Sequence[Program]],
    ratio: Ratio,
    on_event: Callable[[ReplayEvent], None],
) -> list[list[CallRecord]]:
    """Replays each of the workloads through a gateway that is up, one after the other.

    Raises:
        ReplayFailedError: calls of the latest replay failed.
    """
    found = []
    for programs in replays:
        limit = PATIENCE + least_duration(programs)
        records = await replay(programs, gateway.url, model, ratio=ratio, wall_limit_s=limit, on_event=on_event)
        outcome(records)  # there is no use in going on if calls fail
        found.append(records)
        await asyncio.sleep(SETTLE)
    return found


def judge(
    policy: PolicyConfig,
    fleet: Sequence[EngineModel],
    replays: Sequence[Sequence[Program]],
    measured: Sequence[Sequence[CallRecord]],
    idle_timeout: Seconds = IDLE_TIMEOUT,
) -> Trial:
    """What was measured, beside what the simulator says of the same programs, at the lengths that the server counted.

    Raises:
        SimulationError, WorkloadError, PolicyError: as `simulate`.
    """
    real = tuple(outcome(records) for records in measured)
    same = [resized(programs, counted(records)) for programs, records in zip(replays, measured, strict=True)]
    twins = simulate_replays(same, fleet, policy, idle_timeout=idle_timeout)
    return Trial(policy.name, real, tuple(map(outcome, twins)))


def repeated(programs: Sequence[Program], repetitions: int) -> list[list[Program]]:
    """The same workload so many times, each time of other text."""
    return [named(programs, f"~{repetition}") for repetition in range(repetitions)]


async def token_ratio(engines: Sequence[ServedEngine], model: str) -> Ratio:
    """How words become tokens on the first of the model's engines; a usual vocabulary's where it does not tell.

    Raises:
        EngineError: no engine serves the model.
    """
    served = next((engine for engine in engines if engine.model == model), None)
    if served is None:
        raise EngineError(f"no engine of the configuration serves {model}")
    try:
        return await calibrate(served.url, model)
    except httpx.HTTPError:
        return DEFAULT_RATIO
