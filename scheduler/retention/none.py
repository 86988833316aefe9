"""Nothing is kept on purpose: the engine's prefix cache does what it does."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class NoRetention:
    """Never pins."""

    def at_dispatch(self, view: View, call: Call, engine: EngineState) -> Seconds:
        return 0.0

    def at_finish(self, view: View, program: Program, engine: EngineState) -> Seconds:
        return 0.0
