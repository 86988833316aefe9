"""The engine with the fewest calls on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from scheduler.admission.base import Admission, Verdict
from scheduler.state import Call, EngineState
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class LeastLoaded:
    """Fewest running calls among the engines that would admit the call; ties go to the first by configuration."""

    binds: ClassVar[bool] = False

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        def load(engine: EngineState) -> tuple[bool, int]:
            return admission.verdict(view, call, engine) is not Verdict.ADMIT, len(engine.running)

        return min(engines, key=load)
