"""A new policy on trial against the old one: slices of live traffic under each in turn, and what they show.

Pure: slices in, verdict out. Slices come in the order new, old, old, new, so that what drifts steadily falls on both
alike. Of each it is known how long calls took for their work, and how much work came. Because calls take longer when
more work comes, the two policies are compared at equal load: by an analysis of covariance with one common slope
(Fisher, Statistical Methods for Research Workers, 1932).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from statistics import fmean

from simulator.intervals import t_quantile
from simulator.tune.gain import Gain

ORDER = (True, False, False, True)
"""Whether the new policy is in force, slice by slice, over and over."""
ENOUGH = 8
"""Slices with traffic after which there is a verdict, with at least three of each policy."""
EACH = 3
TOO_MANY = 32
"""Slices after which a policy is given up that could not be compared for want of traffic."""
SHOWN = 0.9
"""Probability with which a loss must be one, to be shown by all slices."""
SHOWN_EARLY = 0.99
"""The same before there are enough: looking often must not find what is not there."""


class Verdict(Enum):
    """What is to become of the new policy; open while it is on trial."""

    OPEN = "open"
    KEEP = "keep"
    REVERT = "revert"


@dataclass(frozen=True, slots=True)
class Slice:
    """A few minutes under one policy.

    `stretch` is the time that its calls took over the time that each would have taken with everything it needs in
    memory and an engine to itself. `load` is the second of these, per second of the slice: the work that came.
    """

    new: bool
    stretch: float
    load: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of log stretch under the new policy minus that under the old, at equal load: above zero is a loss."""

    value: float
    error: float
    """Its standard error."""
    freedom: int

    def is_loss(self, probability: float) -> bool:
        """Whether it is above zero with that probability."""
        return self.value > t_quantile(probability, self.freedom) * self.error

    @property
    def gain(self) -> Gain:
        """The same as a gain, with its interval at 95 %."""
        half = t_quantile(0.975, self.freedom) * self.error
        return Gain(-self.value, -self.value - half, -self.value + half)


class Trial:
    """One new policy on trial."""

    def __init__(self) -> None:
        self.difference: Difference | None = None
        """What the slices show so far."""
        self._begun = 0
        self._passed = 0
        self._slices: list[Slice] = []

    def next_is_new(self) -> bool:
        """Begins a slice: which policy is in force during it."""
        self._begun += 1
        return ORDER[(self._begun - 1) % len(ORDER)]

    def enter(self, passed: Slice | None) -> Verdict:
        """Takes a slice that has passed, None if no work came in it."""
        self._passed += 1
        if passed is not None:
            self._slices.append(passed)
            self.difference = compare(self._slices)
        if self._is_decided and self.difference is not None:
            return Verdict.REVERT if self.difference.is_loss(SHOWN) else Verdict.KEEP
        early = self.difference is not None and self.difference.is_loss(SHOWN_EARLY)
        return Verdict.REVERT if early or self._passed >= TOO_MANY else Verdict.OPEN

    @property
    def _is_decided(self) -> bool:
        new = sum(each.new for each in self._slices)
        return len(self._slices) >= ENOUGH and min(new, len(self._slices) - new) >= EACH


def compare(slices: list[Slice]) -> Difference | None:
    """How stretches differ at equal load; None with fewer than two slices of each policy."""
    new, old = ([each for each in slices if each.new is kind] for kind in (True, False))
    if min(len(new), len(old)) < 2:
        return None
    spread = _moments(new)[0] + _moments(old)[0]
    slope = (_moments(new)[1] + _moments(old)[1]) / spread if spread else 0.0
    freedom = len(slices) - (3 if spread else 2)
    apart = _load(new) - _load(old)
    residual = sum(_moments(group)[2] for group in (new, old)) - slope**2 * spread
    variance = max(0.0, residual) / freedom * (1 / len(new) + 1 / len(old) + (apart**2 / spread if spread else 0.0))
    return Difference(_level(new) - _level(old) - slope * apart, math.sqrt(variance), freedom)


def _moments(group: list[Slice]) -> tuple[float, float, float]:
    """Sums of squares and products around the group's means: of loads, of loads with levels, of levels."""
    load, level = _load(group), _level(group)
    pairs = [(each.load - load, math.log(each.stretch) - level) for each in group]
    return math.fsum(x * x for x, _ in pairs), math.fsum(x * y for x, y in pairs), math.fsum(y * y for _, y in pairs)


def _load(group: list[Slice]) -> float:
    return fmean(each.load for each in group)


def _level(group: list[Slice]) -> float:
    return fmean(math.log(each.stretch) for each in group)
