"""A program stays with the engine that holds its KV, unless waiting there costs more than prefill elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.admission.base import Admission, Verdict
from scheduler.state import Call, EngineState
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class Sticky:
    """Compares seconds to the first token: the queue there plus the prefill of what is not cached there.

    A program moves only when another engine is `margin` times faster to its first token, or when its own engine
    cannot admit it and another can.
    """

    margin: float = 1.5

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        home = next((engine for engine in engines if engine.id == call.program.engine), None)
        if home is None:
            return max(engines, key=lambda engine: (self._room(engine), -engine.backlog))
        if len(engines) == 1:
            return home
        stay = view.finish_prefill(call, home)
        if call.program.member and stay <= view.prefill_seconds(home, call.prompt):
            return home
        fastest = min(engines, key=lambda engine: view.finish_prefill(call, engine))
        if fastest is home or stay <= self.margin * view.finish_prefill(call, fastest):
            fastest = home
        if not call.program.member and admission.verdict(view, call, fastest) is not Verdict.ADMIT:
            return max(engines, key=lambda engine: (self._room(engine), engine is home))
        return fastest

    @staticmethod
    def _room(engine: EngineState) -> float:
        return (engine.free - engine.growth) / engine.account.capacity
