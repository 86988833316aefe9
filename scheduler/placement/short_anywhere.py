"""Autellix's load balancer (arXiv 2502.13965): short calls go anywhere, long ones to their program's engine.

Short prompts have little to gain from a cached prefix, so calls of at most 2,048 tokens balance the load, while longer
ones go to the engine that their program's first long call went to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from scheduler.admission.base import Admission
from scheduler.listener import Listener
from scheduler.state import Call, EngineState, Program
from scheduler.types import EngineId, ProgramKey
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class ShortAnywhere(Listener):
    """Calls with prompts of at most `short` tokens go to the least loaded engine, others to their program's.

    An engine's load is the number of calls that run on it or wait for it; ties go to the first by configuration. With
    `short` at 0 all calls of a program go to one engine.
    """

    binds: ClassVar[bool] = True

    short: int = 2048
    _homes: dict[ProgramKey, EngineId] = field(init=False, default_factory=dict, repr=False, compare=False)

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        if call.prompt > self.short:
            home = self._homes.get(call.program.key)
            for engine in engines:
                if engine.id == home:
                    return engine
        return engines[0] if len(engines) == 1 else _least_loaded(view, engines)

    def call_bound(self, view: View, call: Call, engine: EngineState) -> None:
        if call.prompt > self.short:
            self._homes[call.program.key] = engine.id

    def program_ended(self, view: View, program: Program) -> None:
        self._homes.pop(program.key, None)


def _least_loaded(view: View, engines: Sequence[EngineState]) -> EngineState:
    loads = {engine.id: 0 for engine in engines}
    for program in view.programs.values():
        for call in program.calls.values():
            place = call.engine or call.bound
            if place is not None and place in loads:
                loads[place] += 1
    return min(engines, key=lambda engine: loads[engine.id])
