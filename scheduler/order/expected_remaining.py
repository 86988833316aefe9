"""Shortest expected program first, with ageing.

Where the work that a program needs can be told, serving the least of it first gives the smallest mean completion time
(Smith, Various optimizers for single-stage production, 1956; Schrage, A proof of the optimality of the shortest
remaining processing time discipline, 1968). Here it is what its agent says is left, or else the mean of what programs of
its workflow took in all:

    key = expected seconds of the program + ageing * its arrival

A program has a place, its calls have none of their own. The calls that it has made do not count: the mean of what came
after a call of the same number was tried, and of coding sessions, whose lengths have a heavy tail, those that go on
become ever longer by it, newcomers overtake them, and more sessions than fit share the memory (mean completions up to
28 % longer). Nor does what the waiting call itself needs: it changes no mean, and who has lost his context waits the
longer for it. The age is the program's too: ordered by the arrival of calls, programs take turns, and where memory is
short each finds its context gone when its turn comes. Where nothing distinguishes programs the order is that of arrival.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scheduler.order.base import Moves
from scheduler.state import Call, Program
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class ExpectedRemaining:
    """Programs with the least to do first, and those that came earlier; a sub-agent is as old as its parent.

    A program is overtaken only by those that arrive within (its expected work) / `ageing` seconds of it.

    Attributes:
        ageing: seconds of work that a second of earlier arrival is worth. Above 0; at 1 and more it is nearly program
            FCFS.
    """

    moves: ClassVar[Moves] = Moves.IN_STEPS

    ageing: float = 0.3

    def key(self, view: View, call: Call) -> float:
        return _expected(view, call.program) + self.ageing * call.program.born

    def priority(self, view: View, call: Call) -> int:
        return round(1000 * self.key(view, call))


def _expected(view: View, program: Program) -> Seconds:
    """What engines have still to do for the program, or in all where that is not told; 0 if nothing is known."""
    stats = view.learned.workflow(program.key.tenant, program.kind)
    if program.remaining_calls is None:
        return stats.expected_work
    return max(program.remaining_calls, 1) * stats.call_work.value
