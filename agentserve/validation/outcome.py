"""The figures of one replay, real or simulated, and how far apart the two may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scheduler.types import Seconds
from simulator.intervals import Interval
from simulator.summary import Figure
from workloads.records import CallRecord, Spread, summarise


class ReplayFailedError(Exception):
    """Calls of a replay failed, so that its figures are of other programs. The message says how many and why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One replay in figures, all of them as the client sees them. None where there is nothing to count.

    Completion is of programs without a parent. Times to first token count from when a call was due, those of first
    calls (which wait for no other call of their program) apart from those of later ones; a hold is the part of them
    that a call stands in the gateway's line.
    """

    mean_completion: Seconds
    p95_completion: Seconds
    mean_ttft: Seconds
    cached_share: float | None = None
    first_ttft: Seconds | None = None
    later_ttft: Seconds | None = None
    first_hold: Seconds | None = None
    later_hold: Seconds | None = None
    makespan: Seconds | None = None


def outcome(records: Sequence[CallRecord]) -> Outcome:
    """The figures of a replay.

    Raises:
        ReplayFailedError: a call failed, or there are none.
    """
    summary = summarise(records)
    if summary.calls_failed or summary.completion_s is None or summary.ttft_s is None:
        why = next((record.error for record in records if record.error), "there are no calls")
        raise ReplayFailedError(f"{summary.calls_failed} of {summary.calls} calls failed, the first with: {why}")
    return Outcome(
        mean_completion=summary.completion_s.mean,
        p95_completion=summary.completion_s.p95,
        mean_ttft=summary.ttft_s.mean,
        cached_share=summary.cached_share,
        first_ttft=_mean_of(summary.ttft_first_s),
        later_ttft=_mean_of(summary.ttft_later_s),
        first_hold=_mean([record.queue_s for record in records if not record.turn and record.queue_s is not None]),
        later_hold=_mean([record.queue_s for record in records if record.turn and record.queue_s is not None]),
        makespan=summary.makespan_s,
    )


def _mean_of(spread: Spread | None) -> Seconds | None:
    return None if spread is None else spread.mean


def _mean(values: Sequence[Seconds]) -> Seconds | None:
    return fmean(values) if values else None


@dataclass(frozen=True, slots=True)
class Bound:
    """How far a simulated figure may be from the real one: `error`, or where the real interval is wider half of it,
    but never more than `most`. Both are shares of the real mean, or differences where the figure is itself a share.
    """

    error: float
    most: float
    absolute: bool = False

    def scaled(self, factor: float) -> Bound:
        """So many times as wide."""
        return Bound(self.error * factor, self.most * factor, self.absolute)

    def allowed(self, real: Interval) -> float:
        """The greatest difference that is within."""
        unit = 1.0 if self.absolute else real.mean
        return min(max(self.error * unit, real.half or 0.0), self.most * unit)


@dataclass(frozen=True, slots=True)
class BoundedFigure(Figure):
    """A figure of an `Outcome`. Without a bound it is only shown."""

    format: str = "{:,.2f}"
    bound: Bound | None = None


COMPLETION = Bound(0.05, 0.08)
FIGURES: Sequence[BoundedFigure] = (
    BoundedFigure("mean_completion", "program completion, mean (s)", bound=COMPLETION),
    BoundedFigure("p95_completion", "program completion, P95 (s)", bound=COMPLETION),
    BoundedFigure("mean_ttft", "time to first token, mean (s)", bound=Bound(0.10, 0.10)),
    BoundedFigure("cached_share", "cached share of prompt tokens", "{:.1%}", Bound(0.02, 0.02, absolute=True)),
    BoundedFigure("first_ttft", "  of first calls, mean (s)"),
    BoundedFigure("later_ttft", "  of later calls, mean (s)"),
    BoundedFigure("first_hold", "first calls: wait in line, mean (s)"),
    BoundedFigure("later_hold", "later calls: wait in line, mean (s)"),
    BoundedFigure("makespan", "makespan (s)"),
)
