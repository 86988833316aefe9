"""When outputs tell of requests that decode, all of which come on by one token with each step.

Requests of which an output told at the same step are due together from then on, so they are kept as one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf

from scheduler.types import Seconds
from simulator.pace import Cadence
from simulator.request import Progress


@dataclass(eq=False, slots=True)
class Beat:
    """Requests of which an output told last at the same time, with the step of that number."""

    at: Seconds
    step: int
    items: dict[Progress, None] = field(default_factory=dict)


class Rhythm:
    """Who is due when, by the cadence."""

    def __init__(self, cadence: Cadence) -> None:
        self._cadence = cadence
        self._beats: dict[Progress, Beat] = {}
        self._line: deque[Beat] = deque()
        """In the order of their times and of their steps."""
        self._strays: list[Beat] = []
        """Those of requests that came later than their place in the line."""

    def __contains__(self, item: Progress) -> bool:
        return item in self._beats

    @property
    def next_step(self) -> float:
        """The number of the first step that makes somebody due."""
        return min((beat.step for beat in self._first()), default=inf) + self._cadence.tokens

    @property
    def next_alarm(self) -> Seconds:
        """When somebody is due, however few the steps till then."""
        return min((beat.at for beat in self._first()), default=inf) + self._cadence.seconds

    def join(self, item: Progress, at: Seconds, step: int) -> None:
        """An output told of the request last at that time; it was as far as if that had been the step of that number."""
        line = self._line
        while line and not line[-1].items:
            line.pop()
        if not line or (at >= line[-1].at and step >= line[-1].step):
            if not line or (at, step) != (line[-1].at, line[-1].step):
                line.append(Beat(at, step))
            beat = line[-1]
        else:
            beat = Beat(at, step)
            self._strays.append(beat)
        beat.items[item] = None
        self._beats[item] = beat

    def leave(self, item: Progress) -> None:
        """The request is not told of any more, if it was; it knows when that was last."""
        beat = self._beats.pop(item, None)
        if beat is not None:
            del beat.items[item]
            item.told, item.told_at = item.sampled + beat.step, beat.at

    def due(self, now: Seconds, step: int) -> list[Progress]:
        """Those of whom the step of that number, which ends now, tells."""
        due = self._take_due(now, step)
        if not due:
            return []
        one, *others = due
        one.at, one.step = now, step
        for beat in others:
            one.items.update(beat.items)
            self._beats.update(dict.fromkeys(beat.items, one))
        self._line.append(one)
        return list(one.items)

    def _first(self) -> list[Beat]:
        """The beats among which are the first to be due."""
        while self._line and not self._line[0].items:
            self._line.popleft()
        if self._strays:
            self._strays = [beat for beat in self._strays if beat.items]
        return [self._line[0], *self._strays] if self._line else self._strays

    def _take_due(self, now: Seconds, step: int) -> list[Beat]:
        tokens, seconds = self._cadence.tokens, self._cadence.seconds
        due: list[Beat] = []
        while found := [beat for beat in self._first() if step >= beat.step + tokens or now >= beat.at + seconds]:
            due += found
            if self._line and found[0] is self._line[0]:
                self._line.popleft()
            self._strays = [beat for beat in self._strays if beat not in found]
        return due
