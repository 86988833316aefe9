"""Order: which of the waiting calls goes next, at the gateway and inside the engine."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Protocol, runtime_checkable

from scheduler.state import Call
from scheduler.types import Seconds
from scheduler.view import View


class Moves(Enum):
    """When the places of those that wait are found anew."""

    NEVER = "never"
    IN_STEPS = "in steps"
    """When what is expected of a workflow's programs has made a step (`WorkflowStats.expected_work`)."""
    ALWAYS = "always"
    """Keys move with time: those at the head are asked for anew whenever something may go."""


class Order(Protocol):
    """An order policy."""

    moves: ClassVar[Moves]
    """When keys change while calls wait."""

    def key(self, view: View, call: Call) -> float:
        """The call's place in line, smaller first; ties go to the call that arrived first."""
        ...

    def priority(self, view: View, call: Call) -> int:
        """The request priority for vLLM, smaller first; equal ones are served in order of arrival there."""
        ...


@runtime_checkable
class Triage(Order, Protocol):
    """An order that tells which calls are too late. Its keys do not move, but for once when a call is lost."""

    @property
    def serve_lost(self) -> bool:
        """Whether such calls stay in line, or are refused."""
        ...

    def lost_at(self, view: View, call: Call) -> Seconds:
        """From when on the call's deadline cannot be met any more; kept as `call.lost`. May be infinite, or past."""
        ...
