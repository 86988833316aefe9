"""What a few minutes of live traffic show of the policy that was in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import fsum
from typing import NamedTuple

from agentserve.gateway.tuning.trial import Slice
from scheduler.types import Seconds, Tokens
from simulator.profile import StepProfile, StepWork
from workloads.traces.recording import RecordedCall

FEWEST = 5
"""Calls without which a slice shows nothing."""
SETTLING = 0.25
"""Share of a slice, at its beginning, that still shows the policy before: its calls do not count."""


@dataclass(frozen=True, slots=True)
class Period:
    """When a slice was, in seconds since 1970, and under which policy."""

    begin: Seconds
    end: Seconds
    new: bool


class _Call(NamedTuple):
    arrived: Seconds
    took: Seconds
    alone: Seconds
    """What it would take with everything it needs in memory, and the engine to itself."""


def measure(period: Period, calls: Iterable[RecordedCall], profile: StepProfile) -> Slice | None:
    """The slice of a period: of the calls that arrived in it and have ended. None if they are too few.

    `calls` should reach back further than the period, so that the histories that its calls extend are known. Calls
    without an answer do not count.
    """
    begin = period.begin + SETTLING * (period.end - period.begin)
    counted = [call for call in _timed(calls, profile) if begin <= call.arrived < period.end]
    if len(counted) < FEWEST:
        return None
    alone = fsum(call.alone for call in counted)
    return Slice(period.new, fsum(call.took for call in counted) / alone, alone / (period.end - begin))


def _timed(calls: Iterable[RecordedCall], profile: StepProfile) -> Iterator[_Call]:
    contexts: dict[str, Tokens] = {}
    step = profile.seconds(StepWork(decode_batch=1))
    for call in sorted(calls, key=_arrival):
        seen = call.observed
        if seen is None:
            continue
        known = contexts.get(call.program, call.cached_tokens or 0)
        new = seen.prompt_tokens - known if known < seen.prompt_tokens else seen.prompt_tokens
        contexts[call.program] = seen.prompt_tokens + seen.output_tokens
        alone = new / profile.prefill_tokens_per_s + seen.output_tokens * step
        yield _Call(call.arrived_s, call.ended_s - call.arrived_s, alone)


def _arrival(call: RecordedCall) -> Seconds:
    return call.arrived_s
