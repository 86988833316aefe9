"""Virtual time: SimPy's environment, with actions at absolute times."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from heapq import heappush

import simpy
from simpy.events import Event, EventPriority

from scheduler.types import Seconds


class Turn(IntEnum):
    """Who goes first of those that are due at the same time."""

    WORLD = 0
    """What people, tools and the network do."""
    ENGINE = 1
    """The end of a step: what arrives at the same time is in the next one."""
    ALARM = 2
    """What happens only if nothing else did."""


class Action(Event):
    """Something to do at its time. One costs a third of a SimPy process's turn."""

    __slots__ = ("_do",)

    def __init__(self, clock: Clock, do: Callable[[], None]) -> None:
        super().__init__(clock)
        self._do = do
        self._ok = True
        self._value = None
        self.callbacks.append(Action._happen)

    def _happen(self) -> None:
        self._do()


class Clock(simpy.Environment):
    """Actions happen in the order of their times, then of their turns, then of when they were asked for.

    SimPy's own `schedule` takes delays; adding one to the present time loses bits that an engine's steps need.
    """

    def __init__(self) -> None:
        super().__init__(0.0)
        self.count = 0
        """Actions so far."""

    @property
    def empty(self) -> bool:
        """Nothing will ever happen again."""
        return not self._queue

    def at(self, when: Seconds, do: Callable[[], None], turn: Turn = Turn.WORLD) -> None:
        """Does it at that time, or now if that is past."""
        self.count += 1
        heappush(self._queue, (max(when, self._now), EventPriority(turn), next(self._eid), Action(self, do)))
