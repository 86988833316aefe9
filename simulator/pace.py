"""When the steps of a run end."""

from __future__ import annotations

from math import ceil, sqrt
from typing import NamedTuple

from scheduler.types import Seconds


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
