"""Admission: whether a call may enter the engine it was placed on now."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View


class Verdict(Enum):
    """The answer to a call at the head of the line."""

    ADMIT = "admit"
    SKIP = "skip"
    """Not this one; those behind it may be asked."""
    STOP = "stop"
    """Not this one, and none behind it before it: the engine is closed to newcomers for now."""


class Admission(Protocol):
    """An admission policy. Calls of programs that are members of an engine are not asked about: they enter."""

    def holds(self, view: View, call: Call) -> bool:
        """Whether the call has to stand in line, and to be admitted from there."""
        ...

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        """Whether the call's program may become a member of the engine now."""
        ...

    def longest_wait(self, view: View, call: Call) -> Seconds:
        """After this long in line the call enters whatever the verdict, so that none starves; may be infinite."""
        ...

    def longest_stall(self, view: View, call: Call) -> Seconds:
        """A program's later call that an engine has let wait this long makes members in their gaps give up their KV."""
        ...

    def keeps(self, view: View, program: Program) -> bool:
        """Whether a program that begins a gap stays a member; if not, it makes way at once."""
        ...

    def patience(self, view: View, program: Program) -> Seconds:
        """How long a gap may last until the program makes way: it keeps its KV only while nobody needs the room."""
        ...
