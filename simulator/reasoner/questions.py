"""Simulated questions: how long samples are, where they go wrong, and what the target thinks of each segment.

Everything here is assumed, not measured, but for the figures named at the constants; what follows from it says how
the procedures compare *under this model*. A sample is on the right track until a segment derails it. A segment that
is off the track scores lower by `PENALTY`; the scores of one question are correlated. A takeover by the target brings
a sample back with a probability that falls with the question's difficulty. Every draw depends on nothing but the
seed, the question, the sample and the step, so that two procedures see the same samples wherever they act alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from scheduler.procedures.base import News, Stage, Step
from scheduler.types import Tokens

MEDIAN_TURNS = 2.0
P90_TURNS = 9.0
"""Turns of a sample, log-normal; these two are measured (mean 3.8)."""
MOST_TURNS = 15
SEGMENT: Tokens = 500
"""The segments that these were measured with; a sample is as long in tokens whatever its segments are."""
CORRELATION = 0.6
"""Of the scores within a question: measured."""
DIFFICULTY_WEIGHT = 0.7
"""Correlation of a question's mean score with its easiness: assumed."""
PENALTY = 1.2
"""By how much, in standard deviations, a derailed segment scores lower: assumed."""
SKILL = {"draft": 0.6, "target": 2.2}
"""Log-odds of a right sample at difficulty 0, by who writes: assumed (65 % and 90 %)."""
RECOVERY = 0.6
"""P(a takeover brings a derailed sample back) at most: assumed."""
COMMON_MISTAKE = 0.4
"""The share of wrong samples that make the question's most common mistake: assumed."""
MISTAKES = 6
PROBE = 0.5
"""P(a segment in the second half of a sample shows an answer already): assumed."""
ANSWER = "right"


class Writer(StrEnum):
    """Who writes a segment."""

    DRAFT = "draft"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Question:
    """A question; `difficulty` in standard deviations of the usual ones."""

    name: str
    difficulty: float
    prompt_tokens: Tokens = 200

    def chance(self, writer: Writer) -> float:
        """P(a sample that this writer writes alone is right)."""
        return 1 / (1 + math.exp(self.difficulty - SKILL[writer]))


@dataclass(slots=True)
class Course:
    """A sample so far."""

    turns: int
    on_track: bool = True
    mistake: str = ""
    tokens: Tokens = 0


class Script:
    """What becomes of one question's samples under a seed."""

    def __init__(self, question: Question, seed: int, segment_tokens: Tokens) -> None:
        self.question = question
        self._seed = seed
        self._segment = segment_tokens
        draws = self._draws("question")
        share = DIFFICULTY_WEIGHT
        self._level = -share * question.difficulty + math.sqrt(1 - share**2) * draws.gauss(0, 1)
        self._courses: dict[int, Course] = {}

    def course(self, sample: int) -> Course:
        """A sample, which begins when it is first asked for."""
        course = self._courses.get(sample)
        if course is None:
            course = self._courses[sample] = Course(turns_of(self._draws(str(sample)), self._segment))
        return course

    def length(self, step: Step) -> Tokens:
        """The output of a step, known beforehand to whoever models time. The last segment of a sample is shorter."""
        if step.stage is Stage.VERIFY:
            return 1
        if step.turn + 1 < self.course(step.sample).turns:
            return self._segment
        share = self._draws(f"{step}:length").uniform(0.1, 1.0)
        return max(1, int(share * self._segment))

    def news(self, step: Step, writer: Writer) -> News:
        """Takes the step, and tells what a driver would find in its answer."""
        course, draws = self.course(step.sample), self._draws(str(step))
        if step.stage is Stage.VERIFY:
            return News(1, score=self._score(course, draws))
        output = self.length(step)
        course.tokens += output
        self._write(course, draws, writer)
        ended = step.turn + 1 >= course.turns
        shown = ended or (2 * (step.turn + 1) > course.turns and draws.random() < PROBE)
        answer = (ANSWER if course.on_track else course.mistake) if shown else ""
        return News(output, ended, answer, confidence=self._score(course, draws))

    def _write(self, course: Course, draws: Random, writer: Writer) -> None:
        chance = self.question.chance(writer)
        if course.on_track:
            course.on_track = draws.random() < chance ** (1 / course.turns)
            if not course.on_track:
                course.mistake = _mistake(draws)
        elif writer is Writer.TARGET and draws.random() < RECOVERY * chance:
            course.on_track = True

    def _score(self, course: Course, draws: Random) -> float:
        own = math.sqrt(CORRELATION) * self._level + math.sqrt(1 - CORRELATION) * draws.gauss(0, 1)
        return own - (0.0 if course.on_track else PENALTY)

    def _draws(self, what: str) -> Random:
        return Random(f"{self._seed}:{self.question.name}:{what}")


def turns_of(draws: Random, segment: Tokens = SEGMENT) -> int:
    """How many segments of so many tokens a sample has."""
    spread = math.log(P90_TURNS / MEDIAN_TURNS) / 1.2816
    drawn = min(MOST_TURNS, MEDIAN_TURNS * math.exp(spread * draws.gauss(0, 1)))
    return max(1, round(drawn * SEGMENT / segment))


def questions(count: int, seed: int, *, drift: float = 0.0) -> list[Question]:
    """Questions of normal difficulty, whose mean rises by `drift` from the first to the last."""
    draws = Random(seed)
    return [Question(f"q{number}", draws.gauss(0, 1) + drift * number / max(1, count - 1)) for number in range(count)]


def _mistake(draws: Random) -> str:
    common = draws.random() < COMMON_MISTAKE
    return f"wrong-{0 if common else draws.randrange(1, MISTAKES)}"
