"""How much a search tries."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_SEEDS = 2
"""Seeds of a race's first stretch."""
FRESH = 2
"""The winner is scored again on so many times as many seeds as the search used."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`budget` settings, the default among them, on `seeds` seeds from `seed` on (at least two)."""

    budget: int = 200
    seeds: int = 8
    seed: int = 1

    @property
    def searched(self) -> range:
        """The seeds of the search."""
        return range(self.seed, self.seed + self.seeds)

    @property
    def fresh(self) -> range:
        """The seeds that only the winner and the default see."""
        end = self.searched.stop
        return range(end, end + FRESH * self.seeds)

    @property
    def stretches(self) -> list[int]:
        """How many seeds a setting has run with at the end of each stretch of a race."""
        ends = [FIRST_SEEDS]
        while 2 * ends[-1] < self.seeds:
            ends.append(2 * ends[-1])
        return [*(end for end in ends if end < self.seeds), self.seeds]
