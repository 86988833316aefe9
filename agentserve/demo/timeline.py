"""What a program was doing when, as far as its client can tell: rows for a chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scheduler.types import Seconds, Tokens
from workloads.records import CallRecord, percentile

LAST_BLOCK: Tokens = 160
"""A context of which no more than this was missing at the next call had been kept: its last block was not full."""
MIN_PREFILL: Tokens = 256
"""Calls with fewer uncached tokens do not show how fast the engine prefills."""


class Phase(StrEnum):
    """What a program was doing. The value is the legend's text."""

    WAITING = "waiting"
    PREFILL = "prefill"
    DECODE = "decode"
    RETAINED = "gap, KV retained"
    GAP = "gap, KV lost"


@dataclass(frozen=True, slots=True)
class Span:
    """One phase of one program, in seconds on the workload's clock."""

    phase: Phase
    start: Seconds
    end: Seconds
    detail: str


@dataclass(frozen=True, slots=True)
class Row:
    """One program's spans, in order of time."""

    program: str
    spans: tuple[Span, ...]


def prefill_rate(records: Iterable[CallRecord]) -> float:
    """The engine's prefill rate in tokens per second: that of the fastest tenth of the calls with much to prefill.

    Calls that waited or shared their steps look slower than the engine is; the fastest ones did neither.
    """
    rates = [
        uncached / record.ttft_s
        for record in records
        if record.ttft_s and (uncached := _uncached(record)) >= MIN_PREFILL
    ]
    return percentile(rates, 0.9) if rates else 2000.0


def rows(records: Sequence[CallRecord]) -> list[Row]:
    """A row a program, by arrival. A call's time to first token is split by what its prefill takes at the best rate."""
    rate = prefill_rate(records)
    programs: dict[str, list[CallRecord]] = {}
    for record in records:
        if record.scheduled_s is not None and record.finish_s is not None:
            programs.setdefault(record.program, []).append(record)
    found = [Row(name, tuple(_spans(calls, rate))) for name, calls in programs.items()]
    return sorted(found, key=lambda row: row.spans[0].start)


def _spans(calls: list[CallRecord], rate: float) -> Iterable[Span]:
    calls.sort(key=lambda call: call.scheduled_s or 0.0)
    for before, call in zip([None, *calls], calls, strict=False):
        if before is not None:
            yield _gap(before, call)
        yield from _call(call, rate)


def _gap(before: CallRecord, call: CallRecord) -> Span:
    context = (before.prompt_tokens or 0) + (before.output_tokens or 0)
    cached = call.cached_tokens or 0
    phase = Phase.RETAINED if context - cached <= LAST_BLOCK else Phase.GAP
    start, end = before.finish_s or 0.0, call.scheduled_s or 0.0
    return Span(phase, start, max(start, end), f"{cached} of {context} tokens were still cached")


def _call(call: CallRecord, rate: float) -> Iterable[Span]:
    start, finish = call.scheduled_s or 0.0, call.finish_s or 0.0
    first = call.first_token_s if call.first_token_s is not None else finish
    prefill = min(_uncached(call) / rate, first - start)
    name = f"call {call.turn + 1}"
    if first - prefill > start:
        yield Span(Phase.WAITING, start, first - prefill, name)
    yield Span(Phase.PREFILL, first - prefill, first, f"{name}: {_uncached(call)} of {call.prompt_tokens} tokens")
    yield Span(Phase.DECODE, first, finish, f"{name}: {call.output_tokens} tokens")


def _uncached(call: CallRecord) -> Tokens:
    return (call.prompt_tokens or 0) - (call.cached_tokens or 0)
