"""What becomes of one question, counted as it happens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from scheduler.procedures.base import Conclude, News, Stage, Step
from scheduler.procedures.conformal import bucket
from scheduler.types import Seconds, Tokens
from simulator.reasoner.questions import ANSWER, Question, Script, Writer


@dataclass(slots=True)
class Tally:
    """A question under way."""

    question: Question
    script: Script
    began: Seconds
    tokens: Counter[str] = field(default_factory=Counter)
    """Generated tokens by model, those of aborted steps as far as they had come."""
    verified: Counter[int] = field(default_factory=Counter)
    """Scores by turn bucket."""
    takeovers: Counter[int] = field(default_factory=Counter)
    answers: dict[int, str] = field(default_factory=dict)
    """What each sample said last."""

    def begin(self, step: Step) -> None:
        """A step has begun."""
        if step.stage is Stage.TAKEOVER:
            self.takeovers[bucket(step.turn)] += 1

    def end(self, step: Step, model: str) -> News:
        """A step has ended. Models are named by the writer whose skill they have."""
        news = self.script.news(step, Writer(model))
        if step.stage is Stage.VERIFY:
            self.verified[bucket(step.turn)] += 1
        else:
            self.tokens[model] += news.output
            self.answers[step.sample] = news.answer or self.answers.get(step.sample, "")
        return news

    def abort(self, step: Step, model: str, output: Tokens) -> None:
        """A step was aborted after so many tokens."""
        if step.stage is not Stage.VERIFY:
            self.tokens[model] += output

    def record(self, conclusion: Conclude, now: Seconds) -> Record:
        """The question has its answer."""
        some_right = ANSWER in self.answers.values()
        return Record(
            self.question, conclusion, now - self.began, self.tokens, self.verified, self.takeovers, some_right
        )


@dataclass(frozen=True, slots=True)
class Record:
    """What one question came to."""

    question: Question
    conclusion: Conclude
    seconds: Seconds
    tokens: Counter[str]
    verified: Counter[int]
    takeovers: Counter[int]
    some_right: bool
    """Whether the last answer of any sample was right: pass@m, of what was not stopped."""

    @property
    def right(self) -> bool:
        """Whether the answer is."""
        return self.conclusion.answer == ANSWER
