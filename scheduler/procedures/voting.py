"""Which answer leads, and whether that can still change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb, floor


def leader_wins(first: int, second: int) -> float:
    """P(the leader's share among the two exceeds a half), given its `first` votes against `second`.

    With a uniform prior the share is Beta(first + 1, second + 1), whose upper tail at a half is the probability that
    at most `first` of first + second + 1 fair coins show heads.
    """
    coins = first + second + 1
    return sum(comb(coins, heads) for heads in range(first + 1)) / 2.0**coins


class Ballot:
    """The answers of the samples that have ended. The answer that was first given wins a tie."""

    def __init__(self) -> None:
        self._answers: dict[int, str] = {}
        self._counts: Counter[str] = Counter()

    def cast(self, sample: int, answer: str) -> None:
        """A sample has ended with an answer; "" is none."""
        if answer:
            self._answers[sample] = answer
            self._counts[answer] += 1

    @property
    def voters(self) -> int:
        """Samples that gave an answer."""
        return len(self._answers)

    @property
    def answers(self) -> Mapping[int, str]:
        """What each of them said."""
        return self._answers

    def leader(self) -> str:
        """The answer of most samples, "" if there is none."""
        return self._counts.most_common(1)[0][0] if self._counts else ""

    def votes(self, answer: str) -> int:
        """How many gave it."""
        return self._counts[answer]

    def author(self, answer: str) -> int | None:
        """The first sample that gave it."""
        return next((sample for sample, given in self._answers.items() if given == answer), None)

    @property
    def certainty(self) -> float:
        """P(the leader wins against the runner-up); 0.5 without votes."""
        first, second = self._two()
        return leader_wins(first, second) if first else 0.5

    def settled(self, undecided: int) -> bool:
        """Whether no votes of so many further samples can put another answer before the leader."""
        first, second = self._two()
        return first > second + undecided

    def _two(self) -> tuple[int, int]:
        (first, second) = [*(count for _, count in self._counts.most_common(2)), 0, 0][:2]
        return first, second


def is_certain(probes: Sequence[str], window: int) -> bool:
    """Whether the last `window` probes gave one and the same answer (after Dynasor, arXiv 2412.20993)."""
    last = probes[-window:]
    return len(last) == window and bool(last[0]) and len(set(last)) == 1


def confidence_floor(confidences: Sequence[float], discard: float) -> float:
    """The confidence that a share `discard` of the warm-up's samples did not reach (after DeepConf, arXiv 2508.15260)."""
    return sorted(confidences)[min(len(confidences) - 1, floor(discard * len(confidences)))]
