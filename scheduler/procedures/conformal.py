"""Conformal calibration: which scores are low for segments like this one, while traffic changes.

Scores are compared with recent scores of other programs under the same key. For exchangeable scores the p-values are
uniform; traffic that drifts is not exchangeable, so the threshold is corrected after each decision as in adaptive
conformal inference (Gibbs and Candes, arXiv 2106.00170): threshold += step * (target rate - taken over).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

CAPACITY = 512
"""Scores that a key remembers."""
A_PROGRAM = 4
"""Scores of one program among them: they are correlated (0.6 was measured), and more would tell little."""
ENOUGH = 30
"""With fewer scores a key asks its parent."""
STEP = 0.02
"""By how much a decision moves the threshold, at least. The first of a key move it further, by 1 / sqrt(their number),
for its few scores are of few programs, whose scores are correlated (decaying steps: Angelopoulos, Barber, Bates,
arXiv 2402.01139)."""
EDGES = (1, 2, 4, 8)
"""The first turn of each bucket, counted from 1."""
ANY = 0
"""The bucket of a parent key: every turn."""


class Key(NamedTuple):
    """What scores have in common that may be compared."""

    workflow: str
    bucket: int
    draft: str
    target: str

    @property
    def lineage(self) -> tuple[Key, ...]:
        """The key, then its parents: all workflows, then all turns too."""
        parent = self._replace(workflow="")
        ancestors = (self, parent, parent._replace(bucket=ANY))
        return tuple(dict.fromkeys(ancestors))


def bucket(turn: int) -> int:
    """The turn bucket of a turn counted from 0, by its first turn counted from 1."""
    return max(edge for edge in EDGES if edge <= turn + 1)


class Judgement(NamedTuple):
    """What became of a score: it is rejected if `p` is at most `threshold`."""

    p: float
    threshold: float
    rejected: bool


class Score(NamedTuple):
    """A score and the program that it is from."""

    value: float
    program: str


@dataclass(slots=True)
class Shelf:
    """The recent scores of a key; the oldest make room."""

    scores: deque[Score] = field(default_factory=deque)
    ordered: list[float] = field(default_factory=list)
    of_program: dict[str, list[float]] = field(default_factory=dict)
    threshold: float | None = None
    decisions: int = 0

    def correct(self, threshold: float, missed: float) -> None:
        """Moves the threshold by what a decision missed the target rate."""
        self.decisions += 1
        self.threshold = threshold + max(STEP, 1 / math.sqrt(self.decisions)) * missed

    def add(self, score: Score) -> None:
        own = self.of_program.setdefault(score.program, [])
        if len(own) >= A_PROGRAM:
            return
        own.append(score.value)
        self.scores.append(score)
        insort(self.ordered, score.value)
        if len(self.scores) > CAPACITY:
            self._drop(self.scores.popleft())

    def _drop(self, score: Score) -> None:
        del self.ordered[bisect_left(self.ordered, score.value)]
        own = self.of_program[score.program]
        own.remove(score.value)
        if not own:
            del self.of_program[score.program]

    def others(self, program: str) -> int:
        """How many scores are of other programs."""
        return len(self.scores) - len(self.of_program.get(program, ()))

    def rank(self, score: float, program: str) -> tuple[int, int]:
        """How many scores of other programs are lower, and how many equal."""
        own = self.of_program.get(program, ())
        first, last = bisect_left(self.ordered, score), bisect_right(self.ordered, score)
        lower = first - sum(value < score for value in own)
        return lower, last - first - sum(value == score for value in own)


class Calibration:
    """All keys' scores and thresholds."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)
        self._shelves: dict[Key, Shelf] = {}

    def p_value(self, key: Key, score: float, program: str) -> float:
        """The share of scores that are as low, in (0, 1); ties, the score's own among them, are broken at random.

        Scores of the same program do not count: they are not exchangeable with it.
        """
        shelf = self._compared(key, program)
        lower, equal = shelf.rank(score, program)
        return (lower + (1 - self._random.random()) * (equal + 1)) / (shelf.others(program) + 1)

    def judge(self, key: Key, score: float, program: str, rate: float) -> Judgement:
        """Decides whether a score is among the lowest `rate` of its kind, and learns from it."""
        return self._decide(key, self.p_value(key, score, program), Score(score, program), rate)

    def toss(self, key: Key, score: float, program: str, rate: float) -> Judgement:
        """Decides by chance, at the same rate and under the same correction: what selection is compared with."""
        return self._decide(key, 1 - self._random.random(), Score(score, program), rate)

    def _decide(self, key: Key, p: float, score: Score, rate: float) -> Judgement:
        shelf = self._shelf(key)
        threshold = rate if shelf.threshold is None else shelf.threshold
        rejected = p <= threshold
        shelf.correct(threshold, rate - rejected)
        for ancestor in key.lineage:
            self._shelf(ancestor).add(score)
        return Judgement(p, threshold, rejected)

    def _compared(self, key: Key, program: str) -> Shelf:
        """The first of the key and its parents that has enough scores of other programs, else the last of them."""
        shelf = Shelf()
        for ancestor in key.lineage:
            shelf = self._shelves.get(ancestor, shelf)
            if shelf.others(program) >= ENOUGH:
                break
        return shelf

    def _shelf(self, key: Key) -> Shelf:
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = Shelf()
        return shelf

    # --- snapshot ---------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, object]:
        """Everything, the state of the randomness included, as plain JSON values."""
        version, state, gauss = self._random.getstate()
        shelves = [
            {
                "key": list(key),
                "threshold": shelf.threshold,
                "decisions": shelf.decisions,
                "scores": [list(score) for score in shelf.scores],
            }
            for key, shelf in self._shelves.items()
        ]
        return {"random": [version, list(state), gauss], "shelves": shelves}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_json`.

        Raises:
            ValueError: it is something else.
        """
        calibration = cls()
        try:
            version, state, gauss = value["random"]
            calibration._random.setstate((version, tuple(state), gauss))
            for saved in value["shelves"]:
                shelf = calibration._shelf(Key(*saved["key"]))
                shelf.threshold = saved["threshold"]
                shelf.decisions = saved.get("decisions", len(saved["scores"]))
                for number, program in saved["scores"]:
                    shelf.add(Score(number, program))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no saved calibration: {error!r}") from error
        return calibration
