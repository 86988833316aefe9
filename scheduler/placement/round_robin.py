"""The engines in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from scheduler.admission.base import Admission
from scheduler.listener import Listener
from scheduler.state import Call, EngineState
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class RoundRobin(Listener):
    """Binds each call on arrival to the next engine of its model, whatever its load."""

    binds: ClassVar[bool] = True

    _bound: dict[str, int] = field(init=False, default_factory=dict, repr=False, compare=False)
    """How many calls of each model were bound."""

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        return engines[self._bound.get(call.model, 0) % len(engines)]

    def call_bound(self, view: View, call: Call, engine: EngineState) -> None:
        self._bound[call.model] = self._bound.get(call.model, 0) + 1
