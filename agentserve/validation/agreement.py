"""How far the simulator is from the real engine, and whether it orders policies as the real engine does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from agentserve.validation.outcome import FIGURES, BoundedFigure, Outcome
from simulator.intervals import Interval, Ratio, interval, paired_ratio

SEPARATED = 0.05
"""Two policies differ by so much at least before their order counts."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure on both sides."""

    figure: BoundedFigure
    real: Interval
    simulated: float
    allowed: float | None
    """The greatest difference that is within the figure's bound; None if it has none."""

    @property
    def difference(self) -> float:
        """Above zero if the simulation says more."""
        return self.simulated - self.real.mean

    @property
    def within(self) -> bool:
        """Whether the figure keeps its bound."""
        return self.allowed is None or abs(self.difference) <= self.allowed

    @property
    def error(self) -> str:
        """The difference for people: in percent of the real mean, or in points where the figure is a share."""
        bound = self.figure.bound
        if bound is not None and bound.absolute:
            return f"{100 * self.difference:+.1f} points"
        return f"{self.difference / self.real.mean:+.1%}" if self.real.mean else f"{self.difference:+.2f}"


def verdicts(
    real: Sequence[Outcome], simulated: Sequence[Outcome], *, strictness: float = 1.0, repeated: bool = True
) -> list[Verdict]:
    """Compares the means over repetitions, figure by figure; those that one side does not tell are left out.

    Args:
        real: the repetitions on the real engine.
        simulated: their twins.
        strictness: bounds are so many times as wide as usual.
        repeated: the repetitions are of the same programs, so that they differ by what was not controlled, and wide
            intervals excuse; otherwise they differ by their programs, which are the same on both sides.
    """
    found = []
    for figure in FIGURES:
        values = [value for each in real if (value := figure.of(each)) is not None]
        twins = [value for each in simulated if (value := figure.of(each)) is not None]
        if len(values) == len(real) and len(twins) == len(simulated):
            measured = interval(values) if repeated else Interval(fmean(values))
            bound = None if figure.bound is None else figure.bound.scaled(strictness)
            found.append(Verdict(figure, measured, fmean(twins), None if bound is None else bound.allowed(measured)))
    return found


@dataclass(frozen=True, slots=True)
class Pair:
    """Two policies by one figure: the ratio of the first to the second on both sides, paired by repetition."""

    first: str
    second: str
    figure: BoundedFigure
    real: Ratio
    simulated: Ratio

    @property
    def separated(self) -> bool:
        """The real engine tells them apart, and by enough."""
        return self.real.separated and abs(self.real.value - 1) > SEPARATED

    @property
    def agrees(self) -> bool:
        """The simulator orders them as the real engine does, where that tells them apart."""
        return not self.separated or (self.simulated.value > 1) == (self.real.value > 1)


def ranking(real: Mapping[str, Sequence[Outcome]], simulated: Mapping[str, Sequence[Outcome]]) -> list[Pair]:
    """Every two policies, by mean completion and by its P95. Both mappings have the same policies and repetitions."""
    pairs = []
    for figure in FIGURES[:2]:
        for first, second in combinations(real, 2):
            ratios = [_ratio(side[first], side[second], figure) for side in (real, simulated)]
            if ratios[0] is not None and ratios[1] is not None:
                pairs.append(Pair(first, second, figure, ratios[0], ratios[1]))
    return pairs


def _ratio(first: Sequence[Outcome], second: Sequence[Outcome], figure: BoundedFigure) -> Ratio | None:
    return paired_ratio([figure.of(each) or 0.0 for each in first], [figure.of(each) or 0.0 for each in second])
