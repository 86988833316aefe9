"""Admission: whether a call may enter the engine it was placed on now, and which programs have to make way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View


class Verdict(Enum):
    """The answer to a call at the head of the line."""

    ADMIT = "admit"
    STOP = "stop"
    """Not now, and none behind it before it: the engine is closed to newcomers for now."""


class Admission(Protocol):
    """An admission policy."""

    def holds(self, view: View, call: Call) -> bool:
        """Whether the call has to stand in line, and to be admitted from there."""
        ...

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        """Whether the call may enter the engine now; its program becomes a member there."""
        ...

    def longest_wait(self, view: View, call: Call) -> Seconds:
        """After this long in line the call enters whatever the verdict, so that none starves; may be infinite."""
        ...

    def stays(self, view: View, program: Program, ttl: Seconds) -> Seconds:
        """How long a gap may last until the program makes way: from then on it has its KV while nobody needs the room.

        `ttl` is what the retention policy gives the gap. With 0 the program makes way at once; may be infinite.
        """
        ...


class Occasion(Enum):
    """Why an overseer is asked."""

    TICK = "tick"
    ARRIVAL = "arrival"
    FINISH = "finish"


class Ruling(NamedTuple):
    """Where a program belongs from now on.

    With an engine, it is a member there, and its waiting calls go there. With None, it makes way: at once in a gap, and
    when the last of its running calls is answered otherwise.
    """

    program: Program
    engine: EngineState | None


@runtime_checkable
class Overseer(Admission, Protocol):
    """An admission policy that also decides on all programs together, from time to time."""

    @property
    def period(self) -> Seconds:
        """Seconds between ticks. There are none while no program is known."""
        ...

    def review(self, view: View, waiting: Sequence[Call], occasion: Occasion) -> Iterator[Ruling]:
        """Rulings, each carried out before the next is asked for. `waiting` is the line as it was at first.

        Asked at every tick, after the arrival of a call that stands in line or was sent, and after the end of one.
        """
        ...
