"""What the stages of workflows take, learned, for policies that weigh a call against the rest of its program.

For a call of stage s, the n-th of that stage in its program:

    t(s), t(m, s)   mean seconds from dispatch to the last token of the stage's calls, on all engines and on engine m
    after           mean summed seconds of all calls that programs still made after the n-th call of that stage; of a
                    stage that is declared (`scheduler.plan`), beside the sum of the calls declared to come
    remaining       t(s) + after
    alone           seconds of a call on an idle engine, from the engine's step costs
    due             the call's deadline; without one, the program's arrival + its gaps + scale * whole, where whole is
                    the mean over ended programs of the workflow of what all their calls take alone

A stage without a name is the whole workflow, and n is then the number of the program's call: `after` is the expected
number of calls left times what each takes. Where few calls of that number were seen, those of the stage count, then
those of the workflow. An agent that says how many calls are left is believed: `after` is their number times the mean
of the workflow's calls. Until programs have ended nothing is expected after a call, and the whole is what is known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeAlias

from scheduler.average import Average
from scheduler.listener import Listener
from scheduler.state import Call, EngineState, Program
from scheduler.types import CallId, ProgramKey, Seconds, Usage
from scheduler.view import View
from scheduler.workflows import believed

ENOUGH = 3
"""Samples from which a mean is believed."""
MEMORY = 500
"""Samples that a mean remembers."""
SHORTEST: Seconds = 1e-3
"""No call takes less."""

Key: TypeAlias = tuple[str | int, ...]


class Means:
    """Means of samples by key."""

    def __init__(self) -> None:
        self._averages: dict[Key, Average] = {}

    def add(self, key: Key, sample: float) -> None:
        """Adds a sample."""
        average = self._averages.get(key)
        if average is None:
            average = self._averages[key] = Average(0.0, memory=MEMORY)
        average.add(sample)

    def find(self, *keys: Key) -> float | None:
        """The mean of the first of these keys with enough samples."""
        average = self.average(*keys)
        return None if average is None else average.value

    def average(self, *keys: Key) -> Average | None:
        """The same, and how many samples it has."""
        found = (self._averages.get(key) for key in keys)
        return next((average for average in found if average is not None and average.count >= ENOUGH), None)


@dataclass(slots=True)
class Run:
    """One program so far."""

    gaps: Seconds = 0.0
    alone: Seconds = 0.0
    """What its answered calls take alone."""
    arrived: dict[str, int] = field(default_factory=dict)
    """How many calls of each stage have come."""
    numbers: dict[CallId, int] = field(default_factory=dict)
    """Which of its stage's calls each unanswered one is."""
    taken: list[tuple[tuple[Key, ...], Seconds]] = field(default_factory=list)
    """Its answered calls: under which keys they count, and what they took."""


class StageTimes:
    """Learned service times of stages, and what is derived from them."""

    def __init__(self) -> None:
        self._runs: dict[ProgramKey, Run] = {}
        self._service = Means()
        self._after = Means()
        self._whole = Means()

    def service(self, view: View, call: Call) -> Seconds:
        """t(s); of a stage that is not known yet, the mean over engines of what the call takes alone."""
        learned = self._service.find(_stage(call))
        if learned is not None:
            return learned
        engines = [engine for engine in view.engines.values() if call.model in engine.spec.models]
        return max(fmean(_alone(call, engine) for engine in engines), SHORTEST)

    def service_on(self, call: Call, engine: EngineState) -> Seconds:
        """t(m, s); of a stage that is not known there yet, what the call takes alone."""
        learned = self._service.find((*_stage(call), engine.id))
        return max(_alone(call, engine), SHORTEST) if learned is None else learned

    def compare(self, call: Call, engines: Sequence[EngineState]) -> list[Seconds]:
        """t(m, s) on each engine; what the call takes alone on each, unless the stage is known on all of them."""
        learned = [self._service.find((*_stage(call), engine.id)) for engine in engines]
        known = [seconds for seconds in learned if seconds is not None]
        if len(known) == len(engines):
            return known
        return [max(_alone(call, engine), SHORTEST) for engine in engines]

    def after(self, view: View, call: Call) -> Seconds:
        """Service seconds that the program is expected to need after this call."""
        program = call.program
        if program.ending:
            return 0.0
        if program.remaining_calls is not None:
            each = self._service.find(_workflow(program)) or 0.0
            return max(program.remaining_calls - 1, 0) * each
        number = self._run(program).numbers.get(call.id, 0)
        learned, planned = self._after.average(*_keys(call, number)), self._planned(view, call, number)
        return (planned or 0.0) if learned is None else believed(learned, planned)

    def _planned(self, view: View, call: Call, number: int) -> Seconds | None:
        """What comes after the call as it is declared; of a stage nobody has seen, what the call itself takes."""
        plan = view.plan(call)
        if plan is None:
            return None
        here = self.service(view, call)

        def seconds(stage: str) -> Seconds:
            known = self._service.find((*_workflow(call.program), stage))
            return here if known is None else known

        return plan.rest(call.stage, number, seconds)

    def remaining(self, view: View, call: Call) -> Seconds:
        """Service seconds that the program is expected to need from this call on."""
        return self.service(view, call) + self.after(view, call)

    def due(self, view: View, call: Call, scale: float) -> Seconds:
        """When the call's program should have ended."""
        if call.deadline is not None:
            return call.deadline
        program = call.program
        run = self._run(program)
        whole = self._whole.find(_workflow(program))
        if whole is None:
            whole = run.alone + self.service(view, call)
        return program.arrived + run.gaps + scale * whole

    def call_arrived(self, call: Call) -> None:
        """Numbers the call within its stage."""
        run = self._run(call.program)
        number = run.arrived.get(call.stage, 0)
        run.arrived[call.stage] = number + 1
        run.numbers[call.id] = number

    def call_finished(self, now: Seconds, call: Call, usage: Usage, engine: EngineState) -> None:
        """Learns what the call took."""
        run = self._run(call.program)
        seconds = max(now - call.dispatched, SHORTEST)
        stage = _stage(call)
        for key in (_workflow(call.program), stage, (*stage, engine.id)):
            self._service.add(key, seconds)
        run.taken.append((_keys(call, run.numbers.pop(call.id, 0)), seconds))
        run.alone += engine.spec.steps.alone(usage.prompt, usage.cached or 0, usage.output)

    def gap_ended(self, program: Program, gap: Seconds) -> None:
        """A gap is not the engines' time."""
        self._run(program).gaps += gap

    def program_ended(self, program: Program) -> None:
        """Learns what came after each of the program's calls, and what the whole was."""
        run = self._runs.pop(program.key, None)
        if run is None or not run.taken:
            return
        after = 0.0
        for keys, seconds in reversed(run.taken):
            for key in keys:
                self._after.add(key, after)
            after += seconds
        self._whole.add(_workflow(program), run.alone)

    def _run(self, program: Program) -> Run:
        return self._runs.setdefault(program.key, Run())


@dataclass(frozen=True, slots=True)
class StageListener(Listener):
    """A policy that learns what stages take."""

    times: StageTimes = field(init=False, default_factory=StageTimes, repr=False, compare=False)

    def call_arrived(self, view: View, call: Call) -> None:
        self.times.call_arrived(call)

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        self.times.call_finished(view.now, call, usage, engine)

    def gap_ended(self, view: View, program: Program, gap: Seconds) -> None:
        self.times.gap_ended(program, gap)

    def program_ended(self, view: View, program: Program) -> None:
        self.times.program_ended(program)


class StageOrder(StageListener, ABC):
    """An order by learned times: its keys are seconds, and the engine's request priorities milliseconds."""

    __slots__ = ()

    @abstractmethod
    def key(self, view: View, call: Call) -> float:
        """The call's place in line, smaller first."""

    def priority(self, view: View, call: Call) -> int:
        """The same place, as vLLM has it."""
        return round(1000 * self.key(view, call))


def _alone(call: Call, engine: EngineState) -> Seconds:
    return engine.spec.steps.alone(call.prompt, 0, call.expected_output)


def _workflow(program: Program) -> Key:
    return program.key.tenant, program.workflow


def _stage(call: Call) -> Key:
    return (*_workflow(call.program), call.stage)


def _keys(call: Call, number: int) -> tuple[Key, ...]:
    """From the most special to the most general."""
    stage = _stage(call)
    return (*stage, number), stage, _workflow(call.program)
