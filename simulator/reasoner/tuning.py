"""Which samples, segments and takeover rate answer best within a budget, under the model of `questions.py`.

All settings answer the same questions. After a quarter of them the worse ones are dropped. Of those that are not
worse for certain than the most accurate one, the cheapest wins; what it promises is measured on questions that the
search has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from statistics import fmean

from scheduler.procedures.base import ProcedureSpec
from scheduler.types import Seconds, Tokens
from simulator.intervals import interval
from simulator.reasoner.questions import MOST_TURNS, SEGMENT, questions
from simulator.reasoner.record import Record
from simulator.reasoner.world import Pair, Reasoner

SAMPLES = (4, 8, 16)
SEGMENTS: tuple[Tokens, ...] = (250, 500, 1000)
TAKEOVERS = (0.1, 0.2, 0.4, 0.6)
KEPT = 0.25
"""The share of settings that answer all questions, and the share of questions that decides which."""


class NoSettingError(Exception):
    """Nothing that was tried keeps the budget. The message says how near it came."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a question may cost in the mean; None is no limit."""

    seconds: Seconds | None = None
    tokens: float | None = None

    def excess(self, trial: Trial) -> float:
        """How many times over the budget it is; at most 1 keeps it."""
        limits = ((trial.seconds, self.seconds), (trial.tokens, self.tokens))
        return max((cost / limit for cost, limit in limits if limit is not None), default=0.0)

    def cost(self, trial: Trial) -> float:
        """What is lowered where accuracy is equal: the time if that is limited, else the tokens."""
        return trial.tokens if self.seconds is None else trial.seconds


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting, and whether it was right on each question, with the mean costs of one."""

    spec: ProcedureSpec
    right: tuple[bool, ...]
    seconds: Seconds
    tokens: float
    """Generated, by both models."""
    target_tokens: float

    @property
    def accuracy(self) -> float:
        """The share of questions answered right."""
        return fmean(self.right)


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many questions arrive, and how often: `rate` a second."""

    count: int = 60
    rate: float = 0.01
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """The winner, measured on fresh questions, and what answered all questions of the search."""

    winner: Trial
    finalists: tuple[Trial, ...]


def settings(spec: ProcedureSpec) -> list[ProcedureSpec]:
    """All that are tried: `spec` with other figures, and turns for samples of the same length in tokens."""
    return [
        replace(spec, samples=samples, segment_tokens=segment, takeover=takeover, turns=_turns(segment))
        for samples, segment, takeover in product(SAMPLES, SEGMENTS, TAKEOVERS)
    ]


def _turns(segment: Tokens) -> int:
    return math.ceil(MOST_TURNS * SEGMENT / segment)


def tune(
    spec: ProcedureSpec, pair: Pair, budget: Budget, traffic: Traffic, done: Callable[[], None] = lambda: None
) -> Found:
    """Searches; `done` is called after each of `simulations(spec)` simulations.

    Raises:
        NoSettingError: no setting keeps the budget.
    """
    few = replace(traffic, count=max(2, round(KEPT * traffic.count)))
    first = list(_tried(settings(spec), pair, few, done))
    kept = sorted(first, key=lambda trial: (budget.excess(trial) > 1, -trial.accuracy, budget.cost(trial)))
    finalists = list(_tried([trial.spec for trial in kept[: _finals(len(first))]], pair, traffic, done))
    within = [trial for trial in finalists if budget.excess(trial) <= 1]
    if not within:
        nearest = min(first, key=budget.excess)
        raise NoSettingError(
            f"no setting keeps the budget: the nearest, {describe(nearest.spec)}, takes {nearest.seconds:.1f} s and "
            f"{nearest.tokens:,.0f} tokens a question"
        )
    best = max(within, key=lambda trial: trial.accuracy)
    winner = min((trial for trial in within if not is_worse(trial, best)), key=budget.cost)
    (fresh,) = _tried([winner.spec], pair, replace(traffic, seed=traffic.seed + 1), done)
    return Found(fresh, tuple(finalists))


def simulations(spec: ProcedureSpec) -> int:
    """How many a search takes."""
    count = len(settings(spec))
    return count + _finals(count) + 1


def _finals(count: int) -> int:
    return max(1, round(KEPT * count))


def is_worse(trial: Trial, best: Trial) -> bool:
    """Whether it is less accurate on the same questions for certain: its interval at 95 % leaves out 0."""
    found = interval([float(ours) - float(theirs) for ours, theirs in zip(trial.right, best.right, strict=True)])
    return found.half is not None and found.mean + found.half < 0


def describe(spec: ProcedureSpec) -> str:
    """A setting in words."""
    return f"{spec.samples} samples, segments of {spec.segment_tokens}, takeover {spec.takeover:g}"


def _tried(specs: Sequence[ProcedureSpec], pair: Pair, traffic: Traffic, done: Callable[[], None]) -> Iterator[Trial]:
    draws = Random(traffic.seed)
    arrivals = [0.0]
    while len(arrivals) < traffic.count:
        arrivals.append(arrivals[-1] + draws.expovariate(traffic.rate))
    asked = questions(traffic.count, traffic.seed)
    for spec in specs:
        records = Reasoner(pair, replace(spec, draft="draft", target="target"), traffic.seed).run(asked, arrivals)
        yield _trial(spec, sorted(records, key=lambda record: int(record.question.name[1:])))
        done()


def _trial(spec: ProcedureSpec, records: Sequence[Record]) -> Trial:
    return Trial(
        spec,
        tuple(record.right for record in records),
        fmean(record.seconds for record in records),
        fmean(record.tokens.total() for record in records),
        fmean(record.tokens["target"] for record in records),
    )
