"""What a program was doing when, as far as its client can tell: rows for a chart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from scheduler.types import Seconds, Tokens
from simulator.report.chart import Bar, BarRow
from simulator.result import CallResult
from workloads.records import percentile

LAST_BLOCK: Tokens = 160
"""A context of which no more than this was missing at the next call had been kept: its last block was not full."""
MIN_PREFILL: Tokens = 256
"""Calls with fewer uncached tokens do not show how fast the engine prefills."""


class Phase(StrEnum):
    """What a program was doing. The value is the legend's text; where calls run side by side, the last one counts."""

    WAITING = "waiting"
    PREFILL = "prefill"
    DECODE = "decode"
    RETAINED = "gap, KV retained"
    GAP = "gap, KV lost"

    @property
    def style(self) -> str:
        """Its class in a page's style sheet."""
        return self.name.lower()


PHASES = {phase.style: phase.value for phase in Phase}
"""Styles and names for a chart and its legend."""


@dataclass(frozen=True, slots=True)
class Span:
    """One phase of one program, in seconds since the start."""

    phase: Phase
    start: Seconds
    end: Seconds
    detail: str
    engine: str
    """Where the call of the span, or the one after the gap, ran."""


@dataclass(frozen=True, slots=True)
class Row:
    """One program's spans, in order of their calls' arrival; those of calls that ran side by side overlap."""

    program: str
    spans: tuple[Span, ...]

    def since_arrival(self) -> Row:
        """The same with times since its own arrival."""
        arrival = self.spans[0].start
        spans = (replace(span, start=span.start - arrival, end=span.end - arrival) for span in self.spans)
        return Row(self.program, tuple(spans))


def prefill_rate(calls: Iterable[CallResult]) -> float:
    """The engine's prefill rate in tokens per second: that of the fastest tenth of the calls with much to prefill.

    Calls that waited or shared their steps look slower than the engine is; the fastest ones did neither.
    """
    rates = [_uncached(call) / call.ttft for call in calls if call.ttft > 0 and _uncached(call) >= MIN_PREFILL]
    return percentile(rates, 0.9) if rates else 2000.0


def prefill_rates(calls: Iterable[CallResult]) -> dict[str, float]:
    """The prefill rate of each engine that served a call."""
    return {engine: prefill_rate(found) for engine, found in _grouped(calls, lambda call: call.engine).items()}


def rows(calls: Iterable[CallResult], rates: Mapping[str, float]) -> list[Row]:
    """A row a program, by arrival. A call's time to first token is split by what its prefill takes at the engine's rate."""
    programs = _grouped(calls, lambda call: call.program)
    found = [Row(name, tuple(_spans(own, rates))) for name, own in programs.items()]
    return sorted(found, key=lambda row: row.spans[0].start)


def bar_row(row: Row, rank: int, *, detailed: bool = True) -> BarRow:
    """The row of a chart of the program that arrived as number `rank`, from 1."""
    bars = [Bar(span.start, span.end, span.phase.style, span.detail if detailed else "") for span in row.spans]
    return BarRow(f"program {row.program}", f"{rank:,}", bars)


def _grouped(calls: Iterable[CallResult], key: Callable[[CallResult], str]) -> dict[str, list[CallResult]]:
    groups: dict[str, list[CallResult]] = {}
    for call in calls:
        groups.setdefault(key(call), []).append(call)
    return groups


def _spans(calls: Sequence[CallResult], rates: Mapping[str, float]) -> Iterable[Span]:
    ordered = sorted(calls, key=lambda call: call.arrived)
    last = ordered[0]
    for call in ordered:
        if call.arrived > last.finished:
            yield _gap(last, call)
        yield from _call(call, rates[call.engine])
        last = max(last, call, key=lambda item: item.finished)


def _gap(before: CallResult, call: CallResult) -> Span:
    context = before.prompt + before.output
    phase = Phase.RETAINED if context - call.cached <= LAST_BLOCK else Phase.GAP
    detail = f"{call.cached} of {context} tokens were still cached"
    return Span(phase, before.finished, call.arrived, detail, call.engine)


def _call(call: CallResult, rate: float) -> Iterable[Span]:
    begun = call.first_token - min(_uncached(call) / rate, call.ttft)
    name = f"call {call.turn + 1}"
    if begun > call.arrived:
        yield Span(Phase.WAITING, call.arrived, begun, name, call.engine)
    yield Span(
        Phase.PREFILL, begun, call.first_token, f"{name}, {_uncached(call)} of {call.prompt} tokens", call.engine
    )
    yield Span(Phase.DECODE, call.first_token, call.finished, f"{name}, {call.output} tokens", call.engine)


def _uncached(call: CallResult) -> Tokens:
    return call.prompt - call.cached
