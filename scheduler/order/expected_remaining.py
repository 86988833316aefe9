"""Shortest expected program first, with ageing.

Where the work that a program needs can be told, serving the least of it first gives the smallest mean completion time
(Smith, Various optimizers for single-stage production, 1956; Schrage, A proof of the optimality of the shortest
remaining processing time discipline, 1968). A call's own work is what is not cached of its prompt, and its expected
output, at the pace of the engine where its program is. What comes after it is what its agent says is left, or else the
mean of what ended programs of its workflow took in all:

    key = seconds of its own work + expected seconds of its program + ageing * the program's arrival

The calls that a program has made do not count. The mean of what came after a call of the same number was tried: of
coding sessions, whose lengths have a heavy tail, those that go on become ever longer by it, newcomers overtake them, and
more sessions than fit share the memory (mean completions up to 28 % longer). Where nothing distinguishes programs the
order is that of arrival. The age is the program's, not the call's: ordered by the arrival of calls, programs take turns,
and where memory is short each finds its context gone when its turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from scheduler.average import Average
from scheduler.listener import Listener
from scheduler.state import Call, EngineState, Program
from scheduler.types import ProgramKey, Seconds, Usage
from scheduler.view import View

MEMORY = 500
"""Programs that a mean remembers."""

Workflow: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class Work:
    """The seconds that engines took for a call, and for a program, of one workflow."""

    call: Average = field(default_factory=lambda: Average(0.0, memory=MEMORY))
    program: Average = field(default_factory=lambda: Average(0.0, memory=MEMORY))


@dataclass(frozen=True, slots=True)
class ExpectedRemaining(Listener):
    """Programs with the least to do first, and those that came earlier; a sub-agent is as old as its parent.

    A program is overtaken only by those that arrive within (its expected work) / `ageing` seconds of it.

    Attributes:
        ageing: seconds of work that a second of earlier arrival is worth. Above 0; at 1 and more it is nearly program
            FCFS.
    """

    moving: ClassVar[bool] = False

    ageing: float = 0.3
    _work: dict[Workflow, Work] = field(init=False, default_factory=dict, repr=False, compare=False)
    _taken: dict[ProgramKey, Seconds] = field(init=False, default_factory=dict, repr=False, compare=False)
    """What the answered calls of each program took together."""

    def key(self, view: View, call: Call) -> float:
        return own_work(view, call) + self._expected(call.program) + self.ageing * call.program.born

    def priority(self, view: View, call: Call) -> int:
        return round(1000 * self.key(view, call))

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        program, seconds = call.program, view.now - call.dispatched
        self._work.setdefault((program.key.tenant, program.workflow), Work()).call.add(seconds)
        self._taken[program.key] = self._taken.get(program.key, 0.0) + seconds

    def program_ended(self, view: View, program: Program) -> None:
        taken = self._taken.pop(program.key, None)
        if taken is not None:
            self._work[program.key.tenant, program.workflow].program.add(taken)

    def _expected(self, program: Program) -> Seconds:
        """What the program needs beside its present call, or in all where that is not told; 0 if nothing is known."""
        work = self._work.get((program.key.tenant, program.workflow))
        if work is None:
            return 0.0
        if program.remaining_calls is not None:
            return max(program.remaining_calls - 1, 0) * work.call.value
        return work.program.value


def own_work(view: View, call: Call) -> Seconds:
    """What the call takes at the present pace of the engine where its program is, or of the first that serves it."""
    home = call.program.engine
    engine = view.engines.get(home) if home is not None else _first(view, call)
    if engine is None:
        return 0.0
    steps = view.steps(engine)
    uncached = view.uncached(call, engine)
    step = steps.decode(len(engine.members) + 1, engine.account.occupied + call.reached)
    return steps.prefill(uncached, call.prompt - uncached) + call.expected_output * step


def _first(view: View, call: Call) -> EngineState | None:
    return next((engine for engine in view.engines.values() if call.model in engine.spec.models), None)
