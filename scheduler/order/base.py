"""Order: which of the waiting calls goes next, at the gateway and inside the engine."""

from __future__ import annotations

from typing import ClassVar, Protocol

from scheduler.state import Call
from scheduler.view import View


class Order(Protocol):
    """An order policy."""

    moving: ClassVar[bool]
    """Keys change while calls wait: those at the head are asked for anew whenever something may go."""

    def key(self, view: View, call: Call) -> float:
        """The call's place in line, smaller first; ties go to the call that arrived first."""
        ...

    def priority(self, view: View, call: Call) -> int:
        """The request priority for vLLM, smaller first; equal ones are served in order of arrival there."""
        ...
