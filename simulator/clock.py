"""Virtual time: SimPy's environment, with actions at absolute times."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from heapq import heappop, heappush

import simpy
from simpy.core import EmptySchedule
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
    """Something to do at its time. It has no callbacks and no value, and costs a fifth of a SimPy process's turn."""

    __slots__ = ("do",)

    def __init__(self, do: Callable[[], None]) -> None:
        self.do = do


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
        heappush(self._queue, (max(when, self._now), EventPriority(turn), next(self._eid), Action(do)))

    def step(self) -> None:
        """Goes on to the next action or event.

        Raises:
            EmptySchedule: there is none.
        """
        if not self._queue:
            raise EmptySchedule
        when, _, _, event = self._queue[0]
        if not isinstance(event, Action):
            super().step()
            return
        heappop(self._queue)
        self._now = when
        event.do()
