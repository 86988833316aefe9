"""What all procedures share: samples that advance on their own, a ballot, and when to stop.

A subclass says what follows a step. The rest is here: no sample waits for another, a sample that has ended votes, and
once the vote is decided the others are stopped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from statistics import fmean

from scheduler.procedures.base import (
    Begin,
    Command,
    Conclude,
    Leave,
    News,
    ProcedureSpec,
    Stage,
    Step,
    Stop,
    Verdict,
    Vote,
)
from scheduler.procedures.voting import Ballot, confidence_floor, is_certain
from scheduler.types import Tokens


@dataclass(slots=True)
class Sample:
    """One attempt at an answer."""

    number: int
    step: Step | None = None
    """What is under way; None once the sample is over."""
    ended: bool = False
    """The model ended its text with the last segment."""
    failed: bool = False
    """It could not be written to its end."""
    written: Tokens = 0
    answer: str = ""
    probes: list[str] = field(default_factory=list)
    qualities: list[float] = field(default_factory=list)
    """Scores of its segments, or the writer's own confidence where nobody scores them."""

    @property
    def quality(self) -> float:
        """The mean of its segments; less than any if none is known."""
        return fmean(self.qualities) if self.qualities else float("-inf")

    def read(self, news: News) -> None:
        """Takes in a written segment."""
        self.ended = news.ended
        self.written += news.output
        self.answer = news.answer or self.answer
        self.probes.append(news.answer)


class Sampling(ABC):
    """A procedure over samples. Steps that it has not begun, or has stopped, are ignored when they end."""

    def __init__(self, spec: ProcedureSpec) -> None:
        self.spec = spec
        self.ballot = Ballot()
        self.samples = [Sample(number) for number in range(spec.samples)]
        self.degraded = False
        self.over = False
        self._warm: list[float] = []
        """The qualities of the samples that ended first, until there are enough of them."""

    @property
    def certainty(self) -> float:
        """The probability that the answer that leads now will win."""
        return self.ballot.certainty(self._left)

    @property
    def _left(self) -> int:
        return sum(sample.step is not None for sample in self.samples)

    def begin(self) -> list[Command]:
        """Every sample's first draft."""
        return [self._start(sample, Step(sample.number, 0, Stage.DRAFT)) for sample in self.samples]

    def heard(self, step: Step, news: News, rate: float) -> list[Command]:
        """A step has ended."""
        sample = self._of(step)
        return [] if sample is None else self._then(sample, step, news, rate)

    def failed(self, step: Step) -> list[Command]:
        """A step will never end: the sample goes on without it, or ends with the answer that it has shown."""
        sample = self._of(step)
        if sample is None:
            return []
        if step.stage is Stage.DRAFT:
            sample.failed = True
            return self._end(sample)
        self.degraded = True
        if self.spec.strict:
            sample.step = None
            return self._conclude(Verdict.FAILED)
        return self._next_turn(sample, step)

    def _wrote(self, sample: Sample, step: Step, news: News) -> list[Command]:
        """A segment that nobody scores: its quality is its writer's own confidence."""
        sample.read(news)
        if news.confidence is not None:
            sample.qualities.append(news.confidence)
        return self._next_turn(sample, step)

    @abstractmethod
    def _then(self, sample: Sample, step: Step, news: News, rate: float) -> list[Command]:
        """What follows a step."""

    def _of(self, step: Step) -> Sample | None:
        sample = self.samples[step.sample]
        return sample if sample.step == step and not self.over else None

    def _start(self, sample: Sample, step: Step) -> Begin:
        sample.step = step
        return Begin(step)

    def _next_turn(self, sample: Sample, step: Step) -> list[Command]:
        """The next draft, unless the sample has ended, is certain, is too weak, or has no turns left."""
        window = self.spec.certain
        certain = window is not None and is_certain(sample.probes, window)
        if sample.ended or certain or step.turn + 1 >= self.spec.turns:
            return self._end(sample)
        if self._is_weak(sample):
            sample.answer = ""
            return self._end(sample)
        return [self._start(sample, Step(sample.number, step.turn + 1, Stage.DRAFT))]

    def _is_weak(self, sample: Sample) -> bool:
        """Whether its confidence is below that of the worst of the samples that ended first."""
        if self.spec.warm_up is None or len(self._warm) < self.spec.warm_up or not sample.qualities:
            return False
        return sample.quality < confidence_floor(self._warm, self.spec.discard)

    def _end(self, sample: Sample) -> list[Command]:
        sample.step = None
        self.ballot.cast(sample.number, sample.answer)
        if self.spec.warm_up is not None and sample.qualities and len(self._warm) < self.spec.warm_up:
            self._warm.append(sample.quality)
        if not self._left:
            return [Leave(sample.number), *self._conclude(Verdict.COMPLETE)]
        if self._is_decided:
            return [Leave(sample.number), *self._conclude(Verdict.DECIDED)]
        return [Leave(sample.number)]

    @property
    def _is_decided(self) -> bool:
        """Whether the samples that are left need not be waited for. The best of them all is known only at the end."""
        if self.spec.decided is None or self.spec.vote is Vote.BEST or not self.ballot.voters:
            return False
        return self.certainty >= self.spec.decided

    def _conclude(self, verdict: Verdict) -> list[Command]:
        self.over = True
        commands: list[Command] = []
        for sample in self.samples:
            if sample.step is not None:
                commands += [Stop(sample.step), Leave(sample.number)]
                sample.step = None
        answer, author = self._winner()
        if verdict is not Verdict.FAILED and not answer:
            hopeless = all(sample.failed for sample in self.samples)
            verdict = Verdict.FAILED if hopeless else Verdict.NO_ANSWER
        votes = self.ballot.votes(answer)
        voters = self.ballot.voters
        return [*commands, Conclude(verdict, answer, author, votes, voters, self.degraded, self._saved())]

    def _saved(self) -> Tokens:
        whole = [sample.written for sample in self.samples if sample.ended]
        if not whole:
            return 0
        usual = fmean(whole)
        return round(sum(max(0.0, usual - sample.written) for sample in self.samples if not sample.ended))

    def _winner(self) -> tuple[str, int | None]:
        if self.spec.vote is Vote.MAJORITY or not self.ballot.voters:
            answer = self.ballot.leader()
            return answer, self.ballot.author(answer)
        author = max(self.ballot.answers, key=lambda number: self.samples[number].quality)
        return self.ballot.answers[author], author
