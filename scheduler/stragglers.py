"""Engines that have become slower than they are known to be: a hot GPU, a noisy neighbour, a throttled clock.

What an engine is known to cost (`StepCost`) tells what a decode step takes at its batch. How many times as long it did
take, over its latest calls, is compared with the median of the other engines: what all of them take longer by is the
model's error, or prefills in between, and says nothing of one of them. Ratios at equal batch spread by a tenth
(docs/tournament.md), so that one engine is a straggler from `NOTED` times the others on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, log
from statistics import median

from scheduler.average import Average, plain, read_average, read_numbers
from scheduler.types import EngineId, Seconds

NOTED = 1.5
"""How many times as slow as the others an engine is before it counts as a straggler."""
ENOUGH = 10
"""Calls before an engine is judged."""
MEMORY = 30
"""Calls after which an older one weighs a third of a new one."""
TRIED_AGAIN: Seconds = 60.0
"""After so long without an answer of a straggler the next call may go there as to any other."""


@dataclass(slots=True)
class Stragglers:
    """How many times as long as was known each engine takes, by what its calls took."""

    ratios: dict[EngineId, Average] = field(default_factory=dict)
    """Mean logarithm of (seconds a token / those of its cost)."""
    answered: dict[EngineId, Seconds] = field(default_factory=dict)
    """When each was judged last."""
    slower: dict[EngineId, float] = field(default_factory=dict)
    """The stragglers, and how many times as long as the others their steps take."""

    def add(self, engine: EngineId, ratio: float, now: Seconds) -> None:
        """A call whose tokens took `ratio` times as long as the engine's cost says has been answered."""
        mean = self.ratios.get(engine)
        if mean is None:
            mean = self.ratios[engine] = Average(0.0, memory=MEMORY)
        mean.add(log(ratio))
        self.answered[engine] = now
        self._judge(engine, mean)

    def factor(self, engine: EngineId, now: Seconds) -> float:
        """How many times as long as it is known to the engine takes; 1 if it is no straggler."""
        slower = self.slower.get(engine)
        return 1.0 if slower is None or now > self.answered[engine] + TRIED_AGAIN else slower

    def forget(self, engine: EngineId) -> None:
        """It came up anew, or is gone."""
        for known in (self.ratios, self.answered, self.slower):
            known.pop(engine, None)

    def _judge(self, engine: EngineId, mean: Average) -> None:
        self.slower.pop(engine, None)
        others = [other.value for name, other in self.ratios.items() if name != engine and other.count >= ENOUGH]
        if others and mean.count >= ENOUGH:
            factor = exp(mean.value - median(others))
            if factor >= NOTED:
                self.slower[engine] = factor

    def to_json(self) -> dict[str, list[float]]:
        """Of each engine: mean, count, when it was judged, and its factor (0: none)."""
        return {
            engine: [*plain(mean), self.answered[engine], self.slower.get(engine, 0.0)]
            for engine, mean in self.ratios.items()
        }

    @classmethod
    def from_json(cls, state: Mapping[str, object]) -> Stragglers:
        """The inverse of `to_json`.

        Raises:
            TypeError: the state is not what `to_json` writes.
            ValueError: the same.
        """
        found = cls()
        for name, numbers in state.items():
            mean, count, answered, slower = read_numbers(numbers)
            engine = EngineId(name)
            found.ratios[engine] = read_average([mean, count], MEMORY)
            found.answered[engine] = answered
            if slower:
                found.slower[engine] = slower
        return found
