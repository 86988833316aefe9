"""A program stays with the engine that holds its KV, unless waiting there costs more than prefill elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from scheduler.admission.base import Admission, Verdict
from scheduler.state import Call, EngineState
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class Sticky:
    """Compares seconds to the first token: the queue there plus the prefill of what is not cached there.

    A program moves only when another engine is `margin` times faster to its first token. A new one goes where the
    greatest share of memory is free.
    """

    binds: ClassVar[bool] = False

    margin: float = 1.5

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        program = call.program
        home = next((engine for engine in engines if engine.id == program.engine), None)
        if home is None:
            return self._roomiest(view, call, engines, admission)
        stay = view.finish_prefill(call, home)
        if len(engines) > 1 and (not program.member or stay > view.prefill_seconds(home, call.prompt)):
            fastest = min(engines, key=lambda engine: view.finish_prefill(call, engine))
            if stay > self.margin * view.finish_prefill(call, fastest):
                home = fastest
        return home

    def _roomiest(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        """The engine with the greatest share of its memory unreserved, or in tokens if the call does not fit there."""
        emptiest = max(engines, key=lambda engine: (engine.free - engine.growth) / engine.account.capacity)
        if admission.verdict(view, call, emptiest) is Verdict.ADMIT:
            return emptiest
        return max(engines, key=lambda engine: engine.free - engine.growth)
