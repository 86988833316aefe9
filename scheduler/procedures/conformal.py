"""Conformal calibration: which scores are low for segments like this one, while traffic changes.

Scores are compared with recent scores of other programs under the same key. For exchangeable scores the p-values are
uniform; traffic that drifts is not exchangeable, so the threshold is corrected after each decision as in adaptive
conformal inference (Gibbs and Candes, arXiv 2106.00170): threshold += step * (target rate - taken over).
"""

from __future__ import annotations

from collections import Counter, deque
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
"""By how much a decision moves the threshold."""
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
    of_program: Counter[str] = field(default_factory=Counter)
    threshold: float | None = None

    def add(self, score: Score) -> None:
        if self.of_program[score.program] >= A_PROGRAM:
            return
        self.scores.append(score)
        self.of_program[score.program] += 1
        if len(self.scores) > CAPACITY:
            oldest = self.scores.popleft().program
            self.of_program[oldest] -= 1
            if not self.of_program[oldest]:
                del self.of_program[oldest]


class Calibration:
    """All keys' scores and thresholds."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)
        self._shelves: dict[Key, Shelf] = {}

    def p_value(self, key: Key, score: float, program: str) -> float:
        """The share of scores that are as low, in (0, 1); ties, the score's own among them, are broken at random.

        Scores of the same program do not count: they are not exchangeable with it.
        """
        others = self._others(key, program)
        lower = sum(value < score for value in others)
        equal = sum(value == score for value in others)
        return (lower + (1 - self._random.random()) * (equal + 1)) / (len(others) + 1)

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
        shelf.threshold = threshold + STEP * (rate - rejected)
        for ancestor in key.lineage:
            self._shelf(ancestor).add(score)
        return Judgement(p, threshold, rejected)

    def _others(self, key: Key, program: str) -> list[float]:
        """Scores of other programs under the first of the key and its parents that has enough of them."""
        others: list[float] = []
        for ancestor in key.lineage:
            shelf = self._shelves.get(ancestor)
            if shelf is not None:
                others = [score.value for score in shelf.scores if score.program != program]
            if len(others) >= ENOUGH:
                break
        return others

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
            {"key": list(key), "threshold": shelf.threshold, "scores": [list(score) for score in shelf.scores]}
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
                for number, program in saved["scores"]:
                    shelf.add(Score(number, program))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no saved calibration: {error!r}") from error
        return calibration
