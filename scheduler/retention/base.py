"""Retention: how long a program's KV is kept through a gap."""

from __future__ import annotations

from typing import Protocol

from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View


class Retention(Protocol):
    """A retention policy. Never asked about a program's last call."""

    def at_dispatch(self, view: View, call: Call, engine: EngineState) -> Seconds:
        """The time-to-live that travels with the request, before it is known which tool the answer will call.

        It bridges the moment until `at_finish` reaches the engine; 0 pins nothing. Asked only if the engine can retain.
        """
        ...

    def at_finish(self, view: View, program: Program, engine: EngineState) -> Seconds:
        """The time-to-live now that the gap has begun and `program.gap_tools` is known; 0 releases.

        Asked again in the gap when the agent says more about it.
        """
        ...
