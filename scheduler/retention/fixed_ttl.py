"""The same time-to-live for every gap."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class FixedTtl:
    """Pins for `ttl` seconds."""

    ttl: float = 2.0

    def at_dispatch(self, view: View, call: Call, engine: EngineState) -> Seconds:
        return self.ttl

    def at_finish(self, view: View, program: Program, engine: EngineState) -> Seconds:
        return self.ttl
