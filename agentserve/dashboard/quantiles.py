"""Percentiles of what has ended lately."""

from __future__ import annotations

from collections import deque

from scheduler.types import Seconds
from workloads.records import percentile

LATEST = 1024
"""Of each kind."""
SHARES = (0.5, 0.95, 0.99)


class Quantiles:
    """The latest durations of one kind."""

    def __init__(self) -> None:
        self.count = 0
        self._latest: deque[Seconds] = deque(maxlen=LATEST)

    def add(self, seconds: Seconds) -> None:
        """Takes one."""
        self.count += 1
        self._latest.append(seconds)

    def told(self) -> list[float] | None:
        """The percentiles of `SHARES`, in seconds, and how many there have been; None if none."""
        if not self._latest:
            return None
        ordered = sorted(self._latest)
        return [*(round(percentile(ordered, share), 4) for share in SHARES), self.count]
