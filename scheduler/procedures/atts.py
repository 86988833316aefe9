"""Asynchronous test-time scaling: a small model drafts, a large one checks each segment and continues the worst.

A turn is a drafted segment, its score under the target, and, if conformal calibration puts the score among the lowest
of its kind, a segment by the target that continues the text. The last segment is checked too: a text that ended badly
is continued. No sample waits for another.
"""

from __future__ import annotations

from scheduler.procedures.base import Begin, Command, News, ProcedureSpec, Selection, Stage, Step, Stop
from scheduler.procedures.conformal import Calibration, Key, bucket
from scheduler.procedures.sampling import Sample, Sampling


class Atts(Sampling):
    """`program` names the virtual call in the calibration, `workflow` what it is compared with."""

    def __init__(self, spec: ProcedureSpec, calibration: Calibration, workflow: str, program: str) -> None:
        super().__init__(spec)
        self._calibration = calibration
        self._workflow = workflow
        self._program = program

    def _then(self, sample: Sample, step: Step, news: News, rate: float) -> list[Command]:
        match step.stage:
            case Stage.DRAFT if self.spec.takeover == 0:
                return self._wrote(sample, step, news)
            case Stage.DRAFT:
                sample.read(news)
                return [self._start(sample, step._replace(stage=Stage.VERIFY))]
            case Stage.VERIFY:
                return self._judge(sample, step, news, rate)
            case Stage.TAKEOVER:
                sample.read(news)
                return self._next_turn(sample, step)

    def _judge(self, sample: Sample, step: Step, news: News, rate: float) -> list[Command]:
        if news.score is None:
            return self.failed(step)
        sample.qualities.append(news.score)
        key = Key(self._workflow, bucket(step.turn), self.spec.draft, self.spec.target)
        conformal = self.spec.selection is Selection.CONFORMAL
        judge = self._calibration.judge if conformal else self._calibration.toss
        if judge(key, news.score, self._program, rate).rejected:
            return [self._start(sample, step._replace(stage=Stage.TAKEOVER))]
        return self._next_turn(sample, step)


class BarrierAtts(Atts):
    """The comparator: the same rule and budgets, but a turn begins when every sample has ended the last one."""

    def __init__(self, spec: ProcedureSpec, calibration: Calibration, workflow: str, program: str) -> None:
        super().__init__(spec, calibration, workflow, program)
        self._held: list[Begin] = []

    def heard(self, step: Step, news: News, rate: float) -> list[Command]:
        """A step has ended; drafts of the next turn are held back."""
        return self._at_barrier(super().heard(step, news, rate))

    def failed(self, step: Step) -> list[Command]:
        """A step will never end; drafts of the next turn are held back."""
        return self._at_barrier(super().failed(step))

    def _at_barrier(self, commands: list[Command]) -> list[Command]:
        held = {begin.step for begin in self._held}
        at_once = [
            command
            for command in commands
            if not _is_draft(command) and not (isinstance(command, Stop) and command.step in held)
        ]
        self._held += [command for command in commands if isinstance(command, Begin) and _is_draft(command)]
        if self.over:
            self._held.clear()
        under_way = sum(sample.step is not None for sample in self.samples)
        if under_way > len(self._held):
            return at_once
        released, self._held = self._held, []
        return [*at_once, *released]


def _is_draft(command: Command) -> bool:
    return isinstance(command, Begin) and command.step.stage is Stage.DRAFT
