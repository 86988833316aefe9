"""The latest samples of one quantity, kept in order of arrival and in order of size."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from math import fsum


class SampleWindow:
    """The last `limit` samples. Adding one is a binary search and two moves of memory."""

    __slots__ = ("_arrived", "_limit", "count", "ordered")

    def __init__(self, limit: int, arrived: Iterable[float] = (), count: int | None = None) -> None:
        self._limit = limit
        self._arrived = deque(arrived, maxlen=limit)
        self.ordered = sorted(self._arrived)
        """The samples, ascending. Only to be read."""
        self.count = len(self._arrived) if count is None else count
        """How many samples were ever added."""

    def add(self, sample: float) -> None:
        """Takes in a sample; the oldest leaves a full window."""
        if len(self._arrived) == self._limit:
            del self.ordered[bisect_left(self.ordered, self._arrived[0])]
        self._arrived.append(sample)
        insort(self.ordered, sample)
        self.count += 1

    @property
    def arrived(self) -> Sequence[float]:
        """The samples, oldest first."""
        return tuple(self._arrived)

    @property
    def sum(self) -> float:
        """The sum of the samples, exactly rounded, so that it does not depend on the window's past."""
        return fsum(self._arrived)
