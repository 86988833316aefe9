"""One policy on both sides: repetitions of a workload through a real gateway, and their twins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from agentserve.engines.base import EngineError
from agentserve.validation.outcome import Outcome, outcome
from agentserve.validation.served import ServedEngine, ServedGateway
from agentserve.validation.twin import counted, named, resized, simulate_replays
from scheduler.policy import PolicyConfig
from scheduler.types import Seconds
from simulator.fleet import EngineModel
from workloads.client import ReplayEvent, replay
from workloads.program import Program
from workloads.records import CallRecord
from workloads.synth import DEFAULT_RATIO, Ratio, calibrate

SETTLE: Seconds = 3.0
"""After a replay, until the last pins have been reported."""

PATIENCE: Seconds = 3600.0
"""From the last arrival, until what has not been answered counts as failed."""


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
        limit = PATIENCE + max(program.arrival_s for program in programs)
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
) -> Trial:
    """What was measured, beside what the simulator says of the same programs, at the lengths that the server counted.

    Raises:
        SimulationError, WorkloadError, PolicyError: as `simulate`.
    """
    real = tuple(outcome(records) for records in measured)
    same = [resized(programs, counted(records)) for programs, records in zip(replays, measured, strict=True)]
    return Trial(policy.name, real, tuple(outcome(records) for records in simulate_replays(same, fleet, policy)))


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
