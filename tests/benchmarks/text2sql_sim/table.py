"""The scores by cell, contender and seed, and how contenders compare on the seeds that both have played."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from simulator.intervals import Interval, Ratio, interval, paired_ratio
from tests.benchmarks.text2sql_sim.grid import COVERING, Cell
from tests.benchmarks.text2sql_sim.play import Game, Task
from tests.benchmarks.text2sql_sim.score import Score, next_level, sustained

UNFINISHED = 1e6
"""Seconds that stand for the latency of a query that never ended, in ratios."""

Figure = Callable[[Score], float]


@dataclass(frozen=True)
class Table:
    """What has been played."""

    scores: Mapping[Game, Score | None]

    @cached_property
    def tasks(self) -> Mapping[Task, dict[float, Score | None]]:
        """The scores of each contender and seed in a cell, by load."""
        found: dict[Task, dict[float, Score | None]] = {}
        for game, score in self.scores.items():
            found.setdefault(Task(*game[:3]), {})[game.level] = score
        return found

    @cached_property
    def loads(self) -> Mapping[Task, float]:
        """The load that each sustains, where that has been found."""
        found = {}
        for task, by_level in self.tasks.items():
            attained = {level: 0.0 if score is None else score.attained for level, score in by_level.items()}
            if next_level(attained) is None:
                found[task] = sustained(attained)
        return found

    @cached_property
    def cells(self) -> list[Cell]:
        """Those that somebody has played, in the order of the covering."""
        played = {task.cell for task in self.tasks}
        return sorted(played, key=lambda cell: (COVERING.index(cell) if cell in COVERING else len(COVERING), cell))

    def seeds(self, cell: Cell, contenders: Iterable[str]) -> list[int]:
        """The seeds with which all of them have played all of the cell."""
        by = [{task.seed for task in self.loads if task[:2] == (cell, name)} for name in contenders]
        return sorted(set.intersection(*by)) if by else []

    def load(self, cell: Cell, contender: str, seed: int) -> float:
        """The load that it sustains."""
        return self.loads[Task(cell, contender, seed)]

    def figure(self, cell: Cell, contender: str, seed: int, level: float, of: Figure) -> float:
        """A figure at a load."""
        score = self.tasks[Task(cell, contender, seed)][level]
        return UNFINISHED if score is None else min(of(score), UNFINISHED)

    def load_ratio(self, cell: Cell, contender: str, base: str) -> Ratio | None:
        """How many times the base's load a contender sustains there."""
        seeds = self.seeds(cell, (contender, base))
        if not seeds:
            return None
        return paired_ratio(*([self.load(cell, name, seed) for seed in seeds] for name in (contender, base)))

    def mean_load_ratio(self, cells: Sequence[Cell], contender: str, base: str) -> Ratio | None:
        """The geometric mean over cells, with its interval over the seeds that all of the cells have."""

        def of(name: str, cell: Cell, seed: int) -> float:
            return self.load(cell, name, seed)

        return self._mean_ratio(cells, contender, base, of)

    def mean_figure_ratio(
        self, cells: Sequence[Cell], contender: str, base: str, level: float, figure: Figure
    ) -> Ratio | None:
        """The same of a figure at a load."""

        def of(name: str, cell: Cell, seed: int) -> float:
            return self.figure(cell, name, seed, level, figure)

        return self._mean_ratio(cells, contender, base, of)

    def gain(self, cells: Sequence[Cell], contender: str, base: str, level: float) -> Interval | None:
        """By how much a larger share of queries is in time than under the base, in points; with its interval."""
        cells, seeds = self._common(cells, (contender, base))
        if not seeds:
            return None

        def attained(name: str, cell: Cell, seed: int) -> float:
            score = self.tasks[Task(cell, name, seed)][level]
            return 0.0 if score is None else score.attained

        return interval(
            [
                100 * fmean(attained(contender, cell, seed) - attained(base, cell, seed) for cell in cells)
                for seed in seeds
            ]
        )

    def _mean_ratio(
        self, cells: Sequence[Cell], contender: str, base: str, of: Callable[[str, Cell, int], float]
    ) -> Ratio | None:
        cells, seeds = self._common(cells, (contender, base))
        if not seeds:
            return None
        means = (
            [math.exp(fmean(math.log(of(name, cell, seed)) for cell in cells)) for seed in seeds]
            for name in (contender, base)
        )
        return paired_ratio(*means)

    def _common(self, cells: Sequence[Cell], contenders: Sequence[str]) -> tuple[Sequence[Cell], list[int]]:
        """The cells that the contenders have played, and the seeds with which they have played all of those."""
        by = {cell: self.seeds(cell, contenders) for cell in cells}
        played = [cell for cell in cells if by[cell]]
        return played, sorted(set.intersection(*(set(by[cell]) for cell in played))) if played else []
