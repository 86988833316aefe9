"""Random quantities of the generators. The source of randomness is passed in."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Protocol


class Distribution(Protocol):
    """A random number of some unit."""

    def draw(self, rng: Random) -> float:
        """One independent sample."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Equally likely anywhere from `low` to `high`."""

    low: float
    high: float

    def draw(self, rng: Random) -> float:
        return rng.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True)
class UniformInt:
    """Equally likely each whole number from `low` to `high`, both included."""

    low: int
    high: int

    def draw(self, rng: Random) -> float:
        return rng.randint(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Geometric:
    """How often a coin is thrown until it shows the side that comes once in `mean` throws; it remembers nothing."""

    mean: float

    def draw(self, rng: Random) -> float:
        return 1 + math.floor(math.log(1.0 - rng.random()) / math.log(1.0 - 1.0 / self.mean))


@dataclass(frozen=True, slots=True)
class Normal:
    """The normal distribution, redrawn while below `low`."""

    mean: float
    sd: float
    low: float

    def draw(self, rng: Random) -> float:
        while (value := rng.gauss(self.mean, self.sd)) < self.low:
            pass
        return value


@dataclass(frozen=True, slots=True)
class LogNormal:
    """exp of a normal distribution around ln(median) with deviation `sigma`; what exceeds `cut` becomes `cut`."""

    median: float
    sigma: float
    cut: float = math.inf

    @classmethod
    def with_mean(cls, mean: float, sigma: float) -> LogNormal:
        """The uncut one of this mean: median = mean / exp(sigma^2 / 2)."""
        return cls(mean / math.exp(sigma**2 / 2), sigma)

    def draw(self, rng: Random) -> float:
        return min(self.cut, rng.lognormvariate(math.log(self.median), self.sigma))


@dataclass(frozen=True, slots=True)
class Quantiles:
    """What was measured, given by its value at some ranks from 0 to 1 in rising order; straight lines between them."""

    ranks: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def constant(cls, value: float) -> Quantiles:
        """Always the same."""
        return cls((0.0, 1.0), (value, value))

    @property
    def mean(self) -> float:
        """The mean of all draws."""
        points = pairwise(zip(self.ranks, self.values, strict=True))
        return sum((right - left) * (low + high) / 2 for (left, low), (right, high) in points)

    def at(self, rank: float) -> float:
        """The value below which that share of all draws is."""
        place = min(bisect_right(self.ranks, rank), len(self.ranks) - 1)
        left, right = self.ranks[place - 1], self.ranks[place]
        low, high = self.values[place - 1], self.values[place]
        return low + (high - low) * (rank - left) / (right - left)

    def draw(self, rng: Random) -> float:
        return self.at(rng.random())


@dataclass(frozen=True, slots=True)
class Weighted:
    """One of some values, each as often as its weight says."""

    values: tuple[float, ...]
    weights: tuple[float, ...]

    def draw(self, rng: Random) -> float:
        return rng.choices(self.values, self.weights)[0]
