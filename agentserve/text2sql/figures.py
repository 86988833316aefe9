"""What a run of questions shows, as figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agentserve.text2sql.engines import SLOW
from scheduler.types import Seconds
from workloads.records import spread
from workloads.text2sql.agent import StageCall
from workloads.text2sql.load import Played
from workloads.text2sql.prompts import Stage

T = TypeVar("T")

_SPREAD = ("P50", "P95", "mean", "max")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a table; None where nothing was answered. Of a `cost`, less is better, and a ratio says how much."""

    name: str
    value: float | None
    percent: bool = False
    cost: bool = False
    count: bool = False

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.count:
            return f"{self.value:g}"
        return f"{100 * self.value:.0f} %" if self.percent else f"{self.value:.2f}"


def figures(played: Sequence[Played], slo: Seconds) -> list[Figure]:
    """The rows of the table, always the same ones in the same order. Times are in seconds."""
    return [*_latencies(played, slo), *_answers(played), *_calls(played), *_stages(played)]


def ratio(first: Figure, last: Figure) -> str:
    """How many times as much the first costs; empty where that says nothing."""
    return f"{first.value / last.value:.2f}x" if first.cost and first.value and last.value else ""


def attainment(played: Sequence[Played], slo: Seconds) -> float:
    """The share of questions that were answered within the SLO; a failed one was not."""
    return _share(played, lambda each: not each.error and each.latency <= slo)


def answered(played: Iterable[Played]) -> list[Played]:
    """Those that did not fail."""
    return [each for each in played if not each.error]


def _latencies(played: Sequence[Played], slo: Seconds) -> list[Figure]:
    times = spread([each.latency for each in answered(played)])
    values = (times.p50, times.p95, times.mean, times.max) if times else (None,) * len(_SPREAD)
    return [
        *(Figure(f"latency, {name} (s)", value, cost=True) for name, value in zip(_SPREAD, values, strict=True)),
        Figure(f"answered within {slo:.0f} s", attainment(played, slo), percent=True),
        Figure("failed questions", float(sum(bool(each.error) for each in played)), count=True),
    ]


def _answers(played: Sequence[Played]) -> list[Figure]:
    good = answered(played)
    return [
        Figure("execution accuracy", _share(played, lambda each: each.correct), percent=True),
        Figure("SQL that returns rows", _share(played, lambda each: each.ran), percent=True),
        Figure("revisions a question", _mean([each.revisions for each in good])),
        Figure("questions without a revision", _share(good, lambda each: not each.revisions), percent=True),
    ]


def _calls(played: Sequence[Played]) -> list[Figure]:
    calls = [call for each in played for call in each.calls]
    prompts = sum(call.prompt for call in calls)
    templates = math.fsum(call.prompt * call.template_share for call in calls)
    cached = sum(call.cached for call in calls)
    return [
        Figure("calls a question", len(calls) / len(answered(played)) if calls else None),
        Figure("calls on the slow engine", _share(calls, lambda call: call.engine == SLOW), percent=True),
        Figure("prompt tokens that are templates", templates / prompts if prompts else None, percent=True),
        Figure("prompt tokens cached", cached / prompts if prompts else None, percent=True),
        Figure("in the database (s a question)", _mean([each.sql_seconds for each in answered(played)])),
    ]


def _stages(played: Sequence[Played]) -> list[Figure]:
    taken: dict[Stage, list[Seconds]] = {stage: [] for stage in Stage}
    for call in (call for each in played for call in each.calls):
        taken[call.stage].append(_seconds(call))
    return [Figure(f"  {stage} (s a call)", _mean(times), cost=True) for stage, times in taken.items()]


def _seconds(call: StageCall) -> Seconds:
    return call.ended - call.began


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _share(items: Sequence[T], holds: Callable[[T], bool]) -> float:
    return sum(map(holds, items)) / len(items) if items else 0.0
