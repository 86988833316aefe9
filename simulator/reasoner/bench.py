"""Procedures without engines: the same objects, under published mean times of a step.

For what does not depend on engines, which are rates, votes and tokens, at thousands of questions. A draft takes
7.1 s and a takeover 13.1 s in the mean (measured); both vary by a quarter, and scores take 0.4 s (assumed).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from scheduler.actions import Action, Answer, Submit
from scheduler.procedures.base import ProcedureSpec, Stage, Step
from scheduler.procedures.conformal import Calibration, Judgement, Key
from scheduler.procedures.desk import Cell, Procedures
from scheduler.types import DEFAULT_TENANT, CallId, ProgramKey, Seconds, Tokens
from simulator.reasoner.questions import Question, Script
from simulator.reasoner.record import Record, Tally

MEANS = {Stage.DRAFT: 7.1, Stage.VERIFY: 0.4, Stage.TAKEOVER: 13.1}
PLACES = 4096
"""Requests side by side: more than ever wait."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A step, and when it will end."""

    tally: Tally
    step: Step
    model: str
    output: Tokens
    began: Seconds
    ends: Seconds


class Settled(Calibration):
    """A calibration that learns nothing more: two procedures that act alike take over the same segments."""

    def judge(self, key: Key, score: float, program: str, rate: float) -> Judgement:
        """Decides by the scores that there are, and by nothing else."""
        shelf = self._compared(key, program)
        p = (shelf.rank(score, program)[0] + 0.5) / (shelf.others(program) + 1)
        return Judgement(p, rate, p <= rate)


class Bench:
    """Runs questions, `side_by_side` at once, on one calibration, its own if none is given."""

    def __init__(self, seed: int, side_by_side: int = 16, calibration: Calibration | None = None) -> None:
        self._seed = seed
        self._side_by_side = side_by_side
        self._actions: list[Action] = []
        cell = Cell(_many, self._aborted, _nothing)
        self.procedures = Procedures(cell, self._actions, calibration or Calibration(seed))
        self._tallies: dict[str, Tally] = {}
        self._under_way: dict[CallId, UnderWay] = {}
        self._queue: list[tuple[Seconds, int, CallId]] = []
        self._count = 0
        self._now: Seconds = 0.0
        self._records: list[Record] = []

    def run(self, asked: Iterable[Question], spec: ProcedureSpec) -> list[Record]:
        """Asks every question; the records are in the order in which they ended."""
        left = deque(asked)
        while left or self._tallies:
            while left and len(self._tallies) < self._side_by_side:
                self._ask(left.popleft(), spec)
            self._next()
        self.procedures.check_integrity()
        return self._records

    def _ask(self, question: Question, spec: ProcedureSpec) -> None:
        script = Script(question, self._seed, spec.segment_tokens)
        self._tallies[question.name] = Tally(question, script, self._now)
        program = ProgramKey(DEFAULT_TENANT, question.name)
        self.procedures.begin(self._now, question.name, program, "", spec, (self._count, self._now))
        self._act()

    def _next(self) -> None:
        self._now, _, call = heappop(self._queue)
        found = self._under_way.pop(call, None)
        if found is not None:
            self.procedures.heard(self._now, call, found.tally.end(found.step, found.model))
            self._act()

    def _act(self) -> None:
        actions, self._actions[:] = list(self._actions), []
        for action in actions:
            if isinstance(action, Submit):
                self._submit(action)
            elif isinstance(action, Answer):
                tally = self._tallies.pop(action.procedure)
                self._records.append(tally.record(action.conclusion, self._now))

    def _submit(self, action: Submit) -> None:
        tally, step = self._tallies[action.procedure], action.step
        tally.begin(step)
        output = tally.script.length(step)
        share = 1.0 if step.stage is Stage.VERIFY else output / action.max_output
        ends = self._now + MEANS[step.stage] * share * Random(f"{self._seed}:{action.call}").uniform(0.75, 1.25)
        self._under_way[action.call] = UnderWay(tally, step, action.model, output, self._now, ends)
        self._count += 1
        heappush(self._queue, (ends, self._count, action.call))

    def _aborted(self, call: CallId) -> None:
        found = self._under_way.pop(call)
        share = (self._now - found.began) / (found.ends - found.began)
        found.tally.abort(found.step, found.model, int(share * found.output))


def _many(model: str) -> int:
    return PLACES


def _nothing(program: ProgramKey) -> None:
    """Programs have no memory here."""
