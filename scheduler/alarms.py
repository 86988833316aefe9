"""The brain's alarms: what is due when, in a total order. None is taken back: whoever hears one asks if it still counts."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple, TypeAlias

from scheduler.types import CallId, ProgramKey, Seconds

Subject: TypeAlias = CallId | ProgramKey


class Timer(Enum):
    """What has come to pass when an alarm rings."""

    AGED = "aged"
    """A call has waited as long as calls may."""
    LOST = "lost"
    """A call that waits has become too late for its deadline."""
    GAP = "gap"
    """A gap has lasted so long that its program makes way."""
    REVIEW = "review"
    """The admission policy looks at all programs."""
    MOVE = "move"
    """A program's move to another engine may have failed."""
    IDLE = "idle"
    """A program may have been silent for so long that it has ended."""


class Alarm(NamedTuple):
    """One alarm; `gap` is the number of the gap a GAP one was set for."""

    at: Seconds
    sequence: int
    timer: Timer
    subject: Subject
    gap: int


class Alarms:
    """A heap of alarms, by time and then by the order in which they were set."""

    def __init__(self) -> None:
        self._heap: list[Alarm] = []
        self._sequence = 0

    @property
    def next(self) -> Seconds | None:
        """When the next one rings; None if none is set."""
        return self._heap[0].at if self._heap else None

    def set(self, at: Seconds, timer: Timer, subject: Subject, gap: int = 0) -> None:
        """Sets one. Infinite times are never reached and cost nothing."""
        if at != float("inf"):
            self._sequence += 1
            heapq.heappush(self._heap, Alarm(at, self._sequence, timer, subject, gap))

    def due(self, now: Seconds) -> Iterator[Alarm]:
        """Takes out those that are due, in order."""
        while self._heap and self._heap[0].at <= now:
            yield heapq.heappop(self._heap)
