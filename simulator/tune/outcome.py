"""What came of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from scheduler.policy import PolicyConfig
from simulator.tune.gain import Gain
from simulator.tune.space import Parameter


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting that was tried: number 0 is the default. `gain` is against the default on the same seeds."""

    number: int
    values: Mapping[Parameter, float]
    gain: Gain
    seeds: int
    dropped: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found."""

    default: PolicyConfig
    best: PolicyConfig
    """The winner of the search; the default if nothing was better."""
    values: Mapping[Parameter, float]
    """What differs between the two."""
    gain: Gain
    """The winner's over the default, on fresh seeds."""
    fresh: int
    """How many of them."""
    trials: tuple[Trial, ...]
    simulations: int
    separated: bool
    """The search ended before its budget, because the winner's interval was apart from the default's."""

    @property
    def improved(self) -> bool:
        """Whether the winner is better than the default on fresh seeds, for certain."""
        return self.gain.low > 0

    @property
    def policy(self) -> PolicyConfig:
        """What should be used."""
        return self.best if self.improved else self.default


OnTrial: TypeAlias = Callable[[Trial], None]
"""Called when a setting has been tried."""
