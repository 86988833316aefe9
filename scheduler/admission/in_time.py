"""Admission call by call for those that can be in time; those that cannot only where they are in nobody's way."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.admission.base import Verdict
from scheduler.admission.memory import Memory
from scheduler.state import Call, EngineState
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class InTime(Memory):
    """`memory`, but a call that the order calls lost enters only an engine that runs nothing.

    Beside others it would slow down all of them: while an engine prefills, each answer there gets one token a step.
    """

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        if view.now >= call.lost and engine.running:
            return Verdict.STOP
        return Memory.verdict(self, view, call, engine)
