"""Limits over time: what flows back at a steady rate, and what is given anew each period. Time is passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from scheduler.types import Seconds, Tokens

MINUTE: Seconds = 60.0


@dataclass(slots=True)
class Bucket:
    """A token bucket that holds a minute's worth and is refilled steadily.

    What something costs may be known only afterwards: then it is taken all the same, and the level falls below nothing.
    """

    per_minute: int
    level: float = field(init=False)
    _filled: Seconds = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        self.level = float(self.per_minute)

    def wait(self, now: Seconds, amount: float = 1.0) -> Seconds:
        """How long until so much is there; 0 if it is."""
        self._fill(now)
        return max(0.0, amount - self.level) * MINUTE / self.per_minute

    def take(self, now: Seconds, amount: float = 1.0) -> None:
        """Takes that much."""
        self._fill(now)
        self.level -= amount

    def _fill(self, now: Seconds) -> None:
        passed = max(0.0, now - self._filled)
        self._filled = max(self._filled, now)
        self.level = min(float(self.per_minute), self.level + passed * self.per_minute / MINUTE)


@dataclass(slots=True)
class Budget:
    """An amount of tokens for each period of `every` seconds since 1970. Times are of that clock."""

    tokens: Tokens
    every: Seconds
    period: int = 0
    spent: Tokens = 0

    def wait(self, now: Seconds) -> Seconds:
        """How long until there is something to spend; 0 if there is."""
        self._turn(now)
        return 0.0 if self.spent < self.tokens else (self.period + 1) * self.every - now

    def spend(self, now: Seconds, tokens: Tokens) -> None:
        """Spends what a call has used, even if that is more than there was."""
        self._turn(now)
        self.spent += tokens

    def _turn(self, now: Seconds) -> None:
        period = int(now // self.every)
        if period > self.period:
            self.period, self.spent = period, 0
