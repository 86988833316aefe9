"""How many calls may be tried again: a share of all, so that a failing fleet is not asked twice as much.

The idea is Finagle's retry budget: each call deposits a share of a retry, each retry withdraws one.
"""

from __future__ import annotations

import random

from scheduler.types import Seconds

BURST = 100.0
"""Retries that may be saved up: all calls of an engine that dies may go elsewhere at once."""
A_SECOND = 1.0
"""Retries that come back each second, so that a quiet gateway has some too."""


class Retries:
    """The budget of one gateway, and the pause before each retry."""

    def __init__(self, share: float, pause: Seconds, rng: random.Random) -> None:
        """`share`: retries a call, on average. `pause`: the longest pause before a first retry."""
        self._share = share
        self._pause = pause
        self._rng = rng
        self._level = BURST
        self._filled: Seconds = 0.0

    def call(self) -> None:
        """A call has come."""
        self._level = min(BURST, self._level + self._share)

    def take(self, now: Seconds) -> bool:
        """Whether a call may be tried again; the retry is taken."""
        self._level = min(BURST, self._level + max(0.0, now - self._filled) * A_SECOND)
        self._filled = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True

    def pause(self, failures: int) -> Seconds:
        """How long to wait after so many failures: anything up to a bound that doubles (full jitter)."""
        return self._rng.uniform(0.0, self._pause * 2 ** (failures - 1))
