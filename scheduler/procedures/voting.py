"""Which answer leads, and whether that can still change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from math import comb, floor


@cache
def leader_wins(first: int, second: int, left: int) -> float:
    """P(the leader still leads when all have voted), of `first` votes against `second` with `left` to come.

    Each vote to come is the leader's with a probability of which, under a uniform prior, Beta(first + 1, second + 1)
    is known; so their number follows the beta-binomial distribution. A tie is won half the times. Votes for others,
    which change less, are left out. For many to come this is the posterior P(the leader's share exceeds a half).
    """
    ways = [comb(first + won, first) * comb(second + left - won, second) for won in range(left + 1)]
    margins = [first + won - (second + left - won) for won in range(left + 1)]
    won = 2 * sum(way for way, margin in zip(ways, margins, strict=True) if margin > 0)
    tied = sum(way for way, margin in zip(ways, margins, strict=True) if margin == 0)
    return (won + tied) / (2 * comb(first + second + left + 1, left))


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

    def certainty(self, left: int) -> float:
        """P(the leader wins against the runner-up when `left` more have voted); 0.5 without votes."""
        return leader_wins(*self._two(), left)

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
