"""Where a value stands on an axis, and which values are written beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


class Tick(NamedTuple):
    """A value written beside an axis, and its place along it: 0 at the low end, 1 at the high one."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, evenly, or by powers of ten if `logarithmic`; `unit` follows every number."""

    low: float
    high: float
    unit: str = ""
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Along the axis, 0 to 1; a value beyond an end stands at that end."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int = 8) -> list[Tick]:
        """At most about `most` round values within the axis."""
        values = self._powers() if self.logarithmic else self._steps(most)
        return [Tick(self.place(value), f"{value:,g}{self.unit}") for value in values]

    def _powers(self) -> list[float]:
        low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        digits = (1, 2, 5) if high - low <= 3 else (1,)
        values = [digit * 10.0**power for power in range(low, high + 1) for digit in digits]
        return [value for value in values if self.low <= value <= self.high]

    def _steps(self, most: int) -> list[float]:
        least = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(least))
        step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least * (1 - 1e-9))
        first, last = math.ceil(self.low / step), math.floor(self.high / step * (1 + 1e-9))
        return [round(number * step, 12) for number in range(first, last + 1)]


def time_axis(end: float) -> Axis:
    """Seconds from 0 to the end of what is shown; never of no length."""
    return Axis(0.0, end if end > 0 else 1.0, " s")


def spread_axis(low: float, high: float) -> Axis:
    """Seconds that a sample spans: from 0 evenly, or by powers of ten where a few are far above the others."""
    if high > 50 * low > 0:
        return Axis(low, high, " s", logarithmic=True)
    return time_axis(high)
