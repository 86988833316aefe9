"""Shortest expected remaining work first, with ageing.

Where the work that a program still needs can be told, serving the least of it first gives the smallest mean completion
time (Schrage, A proof of the optimality of the shortest remaining processing time discipline, 1968; for expectations,
Gittins 1979). What is expected is learned per workflow, stage and number of the call (`scheduler.presets.stages`).
Where nothing distinguishes programs, all expect the same, and the order is that of their first arrivals.

    key = expected service seconds of the program from this call on + ageing * the program's first arrival
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scheduler.presets.stages import StageOrder
from scheduler.state import Call
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class ExpectedRemaining(StageOrder):
    """Programs with the least to do first, and those that came earlier.

    A call is overtaken only by programs that arrive within (its remaining work) / `ageing` seconds of its own program.

    Attributes:
        ageing: seconds of work that a second of earlier arrival is worth. Above 0; at 1 and more it is nearly program
            FCFS.
    """

    moving: ClassVar[bool] = False

    ageing: float = 0.1

    def key(self, view: View, call: Call) -> float:
        return self.times.remaining(view, call) + self.ageing * call.program.arrived
