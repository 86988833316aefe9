"""Shortest expected remaining work first, with ageing.

Where the work that a program still needs can be told, serving the least of it first gives the smallest mean completion
time (Schrage, A proof of the optimality of the shortest remaining processing time discipline, 1968; for expectations,
Gittins 1979). A call's own work is what is not cached of its prompt, and its expected output, at the pace of the engine
where its program is. What comes after it is the mean, over the ended programs of its workflow, of the seconds that
engines took for the calls after one of the same number. Where nothing distinguishes programs, all expect the same, and
the order is that of arrival.

    key = seconds of its own work + expected seconds of its program's later calls + ageing * the program's arrival

The age is the program's, not the call's: ordered by the arrival of calls, programs take turns, and where memory is short
each finds its context gone when its turn comes.
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
    """What the programs of one workflow took: `after[n]` is the mean of what came after a call of number n."""

    call: Average = field(default_factory=lambda: Average(0.0, memory=MEMORY))
    after: list[Average] = field(default_factory=list)

    def ended(self, seconds: list[Seconds]) -> None:
        """Learns what each call of an ended program took."""
        while len(self.after) < len(seconds):
            self.after.append(Average(0.0, memory=MEMORY))
        left = 0.0
        for number in range(len(seconds) - 1, -1, -1):
            self.after[number].add(left)
            self.call.add(seconds[number])
            left += seconds[number]


@dataclass(frozen=True, slots=True)
class ExpectedRemaining(Listener):
    """Programs with the least to do first, and those that came earlier; a sub-agent is as old as its parent.

    A program is overtaken only by those that arrive within (its remaining work) / `ageing` seconds of it.

    Attributes:
        ageing: seconds of work that a second of earlier arrival is worth. Above 0; at 1 and more it is nearly program
            FCFS.
    """

    moving: ClassVar[bool] = False

    ageing: float = 0.3
    _work: dict[Workflow, Work] = field(init=False, default_factory=dict, repr=False, compare=False)
    _taken: dict[ProgramKey, list[Seconds]] = field(init=False, default_factory=dict, repr=False, compare=False)
    """What the answered calls of each program took."""

    def key(self, view: View, call: Call) -> float:
        return own_work(view, call) + self.after(call) + self.ageing * call.program.born

    def priority(self, view: View, call: Call) -> int:
        return round(1000 * self.key(view, call))

    def after(self, call: Call) -> Seconds:
        """Seconds that the program is expected to need for the calls after this one. Longer than all known, it has none."""
        program = call.program
        work = self._work.get((program.key.tenant, program.workflow))
        if program.ending or work is None:
            return 0.0
        if program.remaining_calls is not None:
            return max(program.remaining_calls - 1, 0) * work.call.value
        return work.after[program.served].value if program.served < len(work.after) else 0.0

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        self._taken.setdefault(call.program.key, []).append(view.now - call.dispatched)

    def program_ended(self, view: View, program: Program) -> None:
        taken = self._taken.pop(program.key, None)
        if taken:
            workflow = program.key.tenant, program.workflow
            work = self._work.get(workflow)
            if work is None:
                work = self._work[workflow] = Work()
            work.ended(taken)


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
