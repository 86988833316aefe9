"""The engine with the fewest calls on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.admission.base import Admission
from scheduler.state import Call, EngineState
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class LeastLoaded:
    """Fewest running calls; ties go to the first engine by configuration."""

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        return min(engines, key=lambda engine: len(engine.running))
