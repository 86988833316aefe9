"""When the steps of a run end, and which of them are told to whoever drives the engine."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, sqrt
from typing import NamedTuple

from scheduler.types import Seconds, Tokens


class Pace(NamedTuple):
    """Steps one behind the other, each longer than the one before by `growth`."""

    start: Seconds
    first: Seconds
    growth: Seconds

    def end(self, steps: int) -> Seconds:
        """When so many steps have ended."""
        return self.start + steps * self.first + self.growth * (steps * (steps - 1) / 2)

    def steps_until(self, when: Seconds) -> int:
        """The first step, counted from 1, that does not end before `when`."""
        linear, time = self.first - self.growth / 2, when - self.start
        if time <= self.first:
            return 1
        steps = ceil(2 * time / (linear + sqrt(linear * linear + 2 * self.growth * time)))
        while self.end(steps) < when:
            steps += 1
        while steps > 1 and self.end(steps - 1) >= when:
            steps -= 1
        return steps


@dataclass(frozen=True, slots=True)
class Cadence:
    """Which of a request's tokens an output tells of: the first, the last, and of those between them each that is
    `tokens` after the one told before, or the first to come `seconds` after it.
    """

    tokens: Tokens = 1
    seconds: Seconds = inf

    def __post_init__(self) -> None:
        if self.tokens < 1 or not self.seconds > 0:
            raise ValueError("a cadence has at least one token and more than no time")


EVERY_TOKEN = Cadence()
