"""What a replay measured: a record a call, a record a program, and the figures that sum them up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workloads.jsonl import Lines
from workloads.program import Seconds, Tokens


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of a replay. Times are seconds on the workload's clock; what did not happen is None.

    `scheduled_s` is when the workload wanted it sent (the program's arrival, or the end of the gap). Token counts are
    the server's. `engine`, `queue_s` and `why` are what an agentserve gateway says in its response headers.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    program: str
    call: str
    turn: int
    parent: str | None = None
    workflow: str = ""
    stage: str = ""
    scheduled_s: Seconds | None = None
    sent_s: Seconds | None = None
    first_token_s: Seconds | None = None
    finish_s: Seconds | None = None
    prompt_tokens: Tokens | None = None
    cached_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    engine: str | None = None
    queue_s: Seconds | None = None
    why: str | None = None
    error: str | None = None

    @property
    def ttft_s(self) -> Seconds | None:
        """Time to first token, from when the workload wanted the call sent."""
        if self.first_token_s is None or self.scheduled_s is None:
            return None
        return self.first_token_s - self.scheduled_s


CALLS = Lines("agentserve.calls", 1, CallRecord)


def write_records(path: Path, records: Iterable[CallRecord]) -> None:
    """Writes one call a line."""
    CALLS.write(path, records)


def read_records(path: Path) -> list[CallRecord]:
    """Reads what `write_records` wrote.

    Raises:
        WorkloadError: as `Lines.read`.
    """
    return list(CALLS.read(path))


@dataclass(frozen=True, slots=True)
class ProgramRecord:
    """One program of a replay. `finish_s` is None if a call of it failed or was not sent."""

    program: str
    parent: str | None
    arrival_s: Seconds | None
    finish_s: Seconds | None
    calls: int
    error: str | None

    @property
    def completion_s(self) -> Seconds | None:
        """From arrival to the last call's end."""
        if self.finish_s is None or self.arrival_s is None:
            return None
        return self.finish_s - self.arrival_s


def program_records(records: Iterable[CallRecord]) -> list[ProgramRecord]:
    """One record a program, in the order of the programs' first records."""
    grouped: dict[str, list[CallRecord]] = {}
    for record in records:
        grouped.setdefault(record.program, []).append(record)
    return [_program_record(calls) for calls in grouped.values()]


def _program_record(calls: Sequence[CallRecord]) -> ProgramRecord:
    error = next((call.error for call in calls if call.error is not None), None)
    ends = _present(call.finish_s for call in calls)
    return ProgramRecord(
        program=calls[0].program,
        parent=calls[0].parent,
        arrival_s=min(_present(call.scheduled_s for call in calls), default=None),
        finish_s=max(ends, default=None) if error is None else None,
        calls=len(calls),
        error=error,
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, median, 95th percentile and maximum of a sample. Percentiles interpolate linearly between ranks."""

    mean: float
    p50: float
    p95: float
    max: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A replay in figures.

    Completion is that of whole agent runs, programs without a parent; a sub-agent's time is part of its parent's.
    Failed programs have no completion, but their calls that were answered count in the rest. A spread of nothing is
    None, and so is the cached share where the server does not report cached tokens.
    """

    programs: int
    programs_failed: int
    calls: int
    calls_failed: int
    completion_s: Spread | None
    ttft_s: Spread | None
    ttft_first_s: Spread | None
    """Of calls that wait for no other call of their program."""
    ttft_later_s: Spread | None
    """Of all other calls."""
    cached_share: float | None
    """Cached prompt tokens over all prompt tokens, of the calls that report both."""
    makespan_s: Seconds
    """From the first arrival to the last call's end."""
    max_lag_s: Seconds
    """The longest time by which the client itself was late in sending a call."""


def summarise(records: Sequence[CallRecord]) -> Summary:
    """Sums a replay up."""
    programs = [program for program in program_records(records) if program.parent is None]
    scheduled = _present(record.scheduled_s for record in records)
    ends = _present(record.finish_s for record in records)
    return Summary(
        programs=len(programs),
        programs_failed=sum(program.error is not None for program in programs),
        calls=len(records),
        calls_failed=sum(record.error is not None for record in records),
        completion_s=spread(_present(program.completion_s for program in programs)),
        ttft_s=spread(_present(record.ttft_s for record in records)),
        ttft_first_s=spread(_present(record.ttft_s for record in records if record.turn == 0)),
        ttft_later_s=spread(_present(record.ttft_s for record in records if record.turn > 0)),
        cached_share=_cached_share(records),
        makespan_s=max(ends) - min(scheduled) if ends and scheduled else 0.0,
        max_lag_s=max(_lags(records), default=0.0),
    )


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of a sample, or None of an empty one."""
    if not values:
        return None
    return Spread(math.fsum(values) / len(values), percentile(values, 0.5), percentile(values, 0.95), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The value at rank share * (n - 1) of the sorted sample, interpolated linearly (Hyndman and Fan's type 7)."""
    ordered = sorted(values)
    rank = share * (len(ordered) - 1)
    low = math.floor(rank)
    high = math.ceil(rank)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def _cached_share(records: Iterable[CallRecord]) -> float | None:
    cached = prompt = 0
    for record in records:
        if record.cached_tokens is not None and record.prompt_tokens is not None:
            cached += record.cached_tokens
            prompt += record.prompt_tokens
    return cached / prompt if prompt else None


def _lags(records: Iterable[CallRecord]) -> list[Seconds]:
    return [r.sent_s - r.scheduled_s for r in records if r.sent_s is not None and r.scheduled_s is not None]


def _present(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
