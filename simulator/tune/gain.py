"""How much better one setting is than another, measured on the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.intervals import CONFIDENCE, interval


@dataclass(frozen=True, slots=True)
class Gain:
    """A mean difference of losses with its interval; above zero is better."""

    value: float = 0.0
    low: float = 0.0
    high: float = 0.0


def paired_gain(base: Sequence[float], losses: Sequence[float], confidence: float = CONFIDENCE) -> Gain:
    """By how much `losses` are below `base`, seed by seed, with Student's t interval of the mean difference.

    Raises:
        ValueError: they are not of the same two or more seeds.
    """
    differences = [before - after for before, after in zip(base, losses, strict=True)]
    if len(differences) < 2:
        raise ValueError("an interval takes at least two seeds")
    found = interval(differences, confidence)
    half = found.half or 0.0
    return Gain(found.mean, found.mean - half, found.mean + half)
