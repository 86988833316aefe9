"""Shortest expected remaining work first, with ageing.

Where the work that a program still needs can be told, serving the least of it first gives the smallest mean completion
time (Schrage, A proof of the optimality of the shortest remaining processing time discipline, 1968; for expectations,
Gittins 1979). A call's own work is what is not cached of its prompt, and its expected output, at the pace of the engine
where its program is; what comes after it is learned per workflow, stage and number of the call
(`scheduler.presets.stages`). Where nothing distinguishes programs, all expect the same, and the order is that of
arrival.

    key = seconds of its own work + expected seconds of its program's later calls + ageing * the program's arrival

The age is the program's, not the call's: ordered by the arrival of calls, programs take turns, and where memory is short
each finds its context gone when its turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scheduler.presets.stages import StageOrder
from scheduler.state import Call, EngineState
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class ExpectedRemaining(StageOrder):
    """Programs with the least to do first, and those that came earlier; a sub-agent is as old as its parent.

    A program is overtaken only by those that arrive within (its remaining work) / `ageing` seconds of it.

    Attributes:
        ageing: seconds of work that a second of earlier arrival is worth. Above 0; at 1 and more it is nearly program
            FCFS.
    """

    moving: ClassVar[bool] = False

    ageing: float = 0.3

    def key(self, view: View, call: Call) -> float:
        return own_work(view, call) + self.times.after(call) + self.ageing * call.program.born


def own_work(view: View, call: Call) -> Seconds:
    """What the call takes at the present pace of the engine where its program is, or of the first that serves it."""
    engine = _engine(view, call)
    if engine is None:
        return 0.0
    steps = view.steps(engine)
    uncached = view.uncached(call, engine)
    step = steps.decode(len(engine.members) + 1, engine.account.occupied + call.reached)
    return steps.prefill(uncached, call.prompt - uncached) + call.expected_output * step


def _engine(view: View, call: Call) -> EngineState | None:
    home = call.program.engine
    if home is not None and home in view.engines:
        return view.engines[home]
    return next((engine for engine in view.engines.values() if call.model in engine.spec.models), None)
