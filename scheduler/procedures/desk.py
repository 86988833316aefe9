"""The procedures of a cell: what they are told, and what becomes of their commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from scheduler.actions import Action, Answer, Submit
from scheduler.procedures.atts import Atts, BarrierAtts
from scheduler.procedures.base import (
    Begin,
    Command,
    Conclude,
    Kind,
    Leave,
    News,
    Procedure,
    ProcedureSpec,
    Stage,
    Step,
    Stop,
)
from scheduler.procedures.best_of_n import BestOfN
from scheduler.procedures.conformal import Calibration
from scheduler.procedures.self_consistency import SelfConsistency
from scheduler.procedures.stages import Entry, Queue, Stages
from scheduler.types import CallId, ProgramKey, Seconds

Place: TypeAlias = tuple[int, Seconds]
"""A program's rank, and when it was born."""


@dataclass(slots=True)
class Running:
    """A virtual call under way."""

    name: str
    program: ProgramKey
    workflow: str
    spec: ProcedureSpec
    procedure: Procedure
    place: Place
    calls: dict[Step, CallId] = field(default_factory=dict)

    def sample_program(self, sample: int, model: str) -> ProgramKey:
        """A sample is a program of its own on each model, for it has KV on both."""
        return ProgramKey(self.program.tenant, f"{self.program.program}/{sample}/{model}")


@dataclass(frozen=True, slots=True)
class Cell:
    """What the brain does for procedures."""

    places: Callable[[str], int]
    """How many requests a model's engines run side by side."""
    abort: Callable[[CallId], None]
    end: Callable[[ProgramKey], None]


class Procedures:
    """All procedures under way, by name."""

    def __init__(self, cell: Cell, actions: list[Action], calibration: Calibration) -> None:
        self.calibration = calibration
        self.stages = Stages(cell.places)
        self.running: dict[str, Running] = {}
        self._cell = cell
        self._actions = actions
        self._steps: dict[CallId, tuple[Running, Step]] = {}
        self._count = 0

    def begin(
        self, now: Seconds, name: str, program: ProgramKey, workflow: str, spec: ProcedureSpec, place: Place
    ) -> None:
        """A virtual call has arrived, and takes its place among programs; a name that is in use is ignored."""
        if name in self.running:
            return
        procedure = self._build(spec, workflow, str(program))
        running = self.running[name] = Running(name, program, workflow, spec, procedure, place)
        self._obey(now, running, procedure.begin())

    def place_of(self, call: CallId) -> Place | None:
        """The place of the virtual call that a step is of: all its samples have it. None for other calls."""
        return self._steps[call][0].place if call in self._steps else None

    def heard(self, now: Seconds, call: CallId, news: News) -> None:
        """A step has ended."""
        if call in self._steps:
            running, step = self._over(now, call, ended=True)
            self._obey(now, running, running.procedure.heard(step, news, self._rate(running.spec)))

    def failed(self, now: Seconds, call: CallId) -> None:
        """A step will never end."""
        if call in self._steps:
            running, step = self._over(now, call, ended=False)
            self._obey(now, running, running.procedure.failed(step))

    def cancel(self, now: Seconds, name: str) -> None:
        """The client left: nothing of the procedure is wanted any more."""
        running = self.running.pop(name, None)
        if running is None:
            return
        for step in list(running.calls):
            self._stop(now, running, step)
        for sample in range(running.spec.samples):
            self._leave(running, sample)
        self._go(now)

    def check_integrity(self) -> None:
        """Checks that no step is lost or leaked.

        Raises:
            AssertionError: one is.
        """
        steps = sum(len(running.calls) for running in self.running.values())
        assert steps == len(self._steps) == self.stages.size, f"{steps} steps, {self.stages.size} of them in queues"

    def _build(self, spec: ProcedureSpec, workflow: str, program: str) -> Procedure:
        match spec.kind:
            case Kind.ATTS:
                return Atts(spec, self.calibration, workflow, program)
            case Kind.ATTS_BARRIER:
                return BarrierAtts(spec, self.calibration, workflow, program)
            case Kind.BEST_OF_N:
                return BestOfN(spec)
            case Kind.SELF_CONSISTENCY:
                return SelfConsistency(spec)

    def _over(self, now: Seconds, call: CallId, *, ended: bool) -> tuple[Running, Step]:
        """Takes a step off the books."""
        running, step = self._steps.pop(call)
        self.stages.leave(call, now, ended=ended)
        del running.calls[step]
        return running, step

    def _rate(self, spec: ProcedureSpec) -> float:
        return self.stages.rate(spec.takeover, spec.draft, spec.target) if spec.follow_load else spec.takeover

    # --- commands ---------------------------------------------------------------------------------------------------

    def _obey(self, now: Seconds, running: Running, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Begin(step):
                    self._enter(running, step)
                case Stop(step):
                    self._stop(now, running, step)
                case Leave(sample):
                    self._leave(running, sample)
                case Conclude():
                    del self.running[running.name]
                    self._actions.append(Answer(running.name, command))
        self._go(now)

    def _enter(self, running: Running, step: Step) -> None:
        call = CallId(f"{running.name}/{step}")
        model = running.spec.draft if step.stage is Stage.DRAFT else running.spec.target
        self._count += 1
        running.calls[step] = call
        self._steps[call] = running, step
        self.stages.enter(Entry(call, Queue(model, step.stage), step, running.procedure, self._count))

    def _stop(self, now: Seconds, running: Running, step: Step) -> None:
        call = running.calls.pop(step)
        del self._steps[call]
        if self.stages.leave(call, now, ended=False):
            self._cell.abort(call)

    def _leave(self, running: Running, sample: int) -> None:
        for model in dict.fromkeys((running.spec.draft, running.spec.target)):
            if model:
                self._cell.end(running.sample_program(sample, model))

    def _go(self, now: Seconds) -> None:
        for entry in self.stages.ready(now):
            running, step = self._steps[entry.call]
            model = entry.queue.model
            self._actions.append(
                Submit(
                    procedure=running.name,
                    call=entry.call,
                    step=step,
                    model=model,
                    program=running.sample_program(step.sample, model),
                    parent=running.program,
                    workflow=running.workflow,
                    max_output=1 if step.stage is Stage.VERIFY else running.spec.segment_tokens,
                )
            )
