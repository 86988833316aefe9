"""What a search makes small."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from scheduler.types import Seconds
from simulator.result import ProgramResult, Simulation
from simulator.tune.gain import Gain
from workloads.records import percentile


class ObjectiveError(ValueError):
    """There is no such objective. The message names those that there are."""


class Kind(StrEnum):
    """The figure that is minimised, of the completion times of programs without a parent."""

    MEAN = "mean_completion"
    P95 = "p95"
    SLO = "slo"
    ATTAINMENT = "attainment"


@dataclass(frozen=True, slots=True)
class Objective:
    """A figure of one simulation, as a loss whose differences add up: smaller is better.

    The loss of a time is its logarithm, so that a difference is a ratio; that of `slo` is the share of programs that
    take longer than `limit`, and that of `attainment` the share of those with a deadline that end after it.
    """

    kind: Kind
    limit: Seconds = math.inf

    def __str__(self) -> str:
        return f"slo@{self.limit:g}" if self.kind is Kind.SLO else self.kind.value

    @property
    def title(self) -> str:
        """The figure, for people."""
        if self.kind is Kind.SLO:
            return f"programs later than {self.limit:g} s"
        return _TITLES[self.kind]

    def loss(self, simulation: Simulation) -> float:
        """The loss of one simulation, which has programs.

        Raises:
            ObjectiveError: no program has a deadline, and the objective is about them.
        """
        roots = [program for program in simulation.programs if program.parent is None] or simulation.programs
        times = [program.completion for program in roots]
        match self.kind:
            case Kind.MEAN:
                return math.log(fmean(times))
            case Kind.P95:
                return math.log(percentile(times, 0.95))
            case Kind.SLO:
                return sum(time > self.limit for time in times) / len(times)
            case Kind.ATTAINMENT:
                return _late(roots)

    def percent(self, gain: float) -> float:
        """By how much a gain lowers the figure: in percent of it, or in points of a share."""
        return 100 * (gain if self._is_share else -math.expm1(-gain))

    @property
    def unit(self) -> str:
        """What `percent` counts."""
        return "points" if self._is_share else "%"

    @property
    def _is_share(self) -> bool:
        return self.kind in (Kind.SLO, Kind.ATTAINMENT)

    def write(self, gain: Gain) -> str:
        """A gain with its interval, for people; a minus is a loss."""
        value, low, high = (self.percent(each) for each in (gain.value, gain.low, gain.high))
        return f"{self.title} lower by {value:.1f} {self.unit} (95 % interval {low:.1f} to {high:.1f})"


_TITLES = {
    Kind.MEAN: "mean completion",
    Kind.P95: "P95 completion",
    Kind.ATTAINMENT: "programs later than their deadline",
}


def _late(programs: Sequence[ProgramResult]) -> float:
    """The share of the programs with a deadline that end after it."""
    in_time = [program.in_time for program in programs if program.in_time is not None]
    if not in_time:
        raise ObjectiveError(
            "attainment counts programs that end before their deadline, and none of the trace's has one: use "
            "mean_completion, p95 or slo@X"
        )
    return 1 - fmean(in_time)


def parse_objective(text: str) -> Objective:
    """The objective of `mean_completion`, `p95`, `attainment` or `slo@SECONDS`.

    Raises:
        ObjectiveError: it is none of these.
    """
    if text in _TITLES:
        return Objective(Kind(text))
    match = re.fullmatch(r"slo@(\d+(?:\.\d+)?)s?", text)
    if match is None or float(match[1]) <= 0:
        raise ObjectiveError(
            f"an objective is mean_completion, p95, attainment for the share of programs that end after their "
            f"deadline, or slo@X for the share of those that take longer than X seconds (slo@30), not {text!r}"
        )
    return Objective(Kind.SLO, float(match[1]))
