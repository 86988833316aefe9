"""What a tournament says: Markdown tables from the scores that were kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from simulator.intervals import Ratio, paired_ratio
from tests.benchmarks.tournament.grid import LEVELS, Cell
from tests.benchmarks.tournament.play import STOCK, Game
from tests.benchmarks.tournament.score import Score

OURS = "agentserve"
UNFINISHED = 1e6
"""Seconds that stand for the mean completion of a policy that left calls without an answer."""


@dataclass(frozen=True, slots=True)
class Table:
    """The scores of a tournament, by cell, contender and seed, of the seeds that every contender has played."""

    scores: Mapping[Game, Score | None]

    @property
    def cells(self) -> list[Cell]:
        """Those that ours has played."""
        return list(dict.fromkeys(game.cell for game in self.scores if game.contender == OURS))

    def contenders(self, cell: Cell) -> list[str]:
        """Who has played there."""
        return list(dict.fromkeys(game.contender for game in self.scores if game.cell == cell))

    def seeds(self, cell: Cell) -> list[int]:
        """The seeds that all contenders of the cell have played."""
        played = [
            {game.seed for game in self.scores if game.cell == cell and game.contender == contender}
            for contender in self.contenders(cell)
        ]
        return sorted(set.intersection(*played)) if played else []

    def values(self, cell: Cell, contender: str, of: Callable[[Score], float]) -> list[float]:
        """A figure by seed."""
        scores = (self.scores[Game(cell, contender, seed)] for seed in self.seeds(cell))
        return [UNFINISHED if score is None else of(score) for score in scores]

    def best_rivals(self, cell: Cell) -> list[str]:
        """For each seed the rival with the best mean completion over the *other* seeds (of all, if there is one)."""
        rivals = [name for name in self.contenders(cell) if name not in (OURS, *ablations(self.contenders(cell)))]
        logs = {rival: [math.log(value) for value in self.values(cell, rival, _mean)] for rival in rivals}
        found = []
        for left_out in range(len(self.seeds(cell))):
            others = [index for index in range(len(self.seeds(cell))) if index != left_out] or [left_out]
            found.append(min(rivals, key=lambda rival: fmean(logs[rival][index] for index in others)))
        return found

    def against_best(self, cell: Cell) -> Ratio | None:
        """The best rival's mean completion over ours."""
        chosen = self.best_rivals(cell)
        rivals = [self.values(cell, rival, _mean)[index] for index, rival in enumerate(chosen)]
        return paired_ratio(rivals, self.values(cell, OURS, _mean))

    def against(self, cell: Cell, rival: str, of: Callable[[Score], float]) -> Ratio | None:
        """A rival's figure over ours."""
        return paired_ratio(self.values(cell, rival, of), self.values(cell, OURS, of))


def ablations(contenders: Iterable[str]) -> list[str]:
    """Those of ours with a part switched off."""
    return [name for name in contenders if name.startswith(f"{OURS} ")]


def report(scores: Mapping[Game, Score | None]) -> str:
    """All tables."""
    table = Table(scores)
    return "\n".join([*_levels(table), "", *_cells(table), "", *_contenders(table), ""])


def _levels(table: Table) -> Iterator[str]:
    yield "| load | cells | best rival / ours, geometric mean | worst cell | vllm / ours | worst cell |"
    yield "|---|---|---|---|---|---|"
    for level in LEVELS:
        cells = [cell for cell in table.cells if cell.level == level]
        best = [ratio.value for cell in cells if (ratio := table.against_best(cell))]
        stock = [ratio.value for cell in cells if (ratio := table.against(cell, STOCK, _mean))]
        if best and stock:
            yield f"| {level:g} L | {len(cells)} | {_summary(best)} | {_summary(stock)} |"


def _summary(values: Sequence[float]) -> str:
    return f"{math.exp(fmean(map(math.log, values))):.2f} | {min(values):.2f}"


def _cells(table: Table) -> Iterator[str]:
    yield (
        "| cell | seeds | ours, mean (s) | best rival | best rival / ours | vllm / ours | P99 slowdown, vllm / ours | "
        "later TTFT P99, vllm / ours |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for cell in table.cells:
        rivals = list(dict.fromkeys(table.best_rivals(cell)))
        figures = [
            table.against_best(cell),
            table.against(cell, STOCK, _mean),
            table.against(cell, STOCK, lambda score: score.slowdown_p99),
            table.against(cell, STOCK, lambda score: score.later_ttft_p99),
        ]
        ours = fmean(table.values(cell, OURS, _mean))
        cells = " | ".join(_ratio(figure) for figure in figures)
        yield f"| {cell} | {len(table.seeds(cell))} | {ours:,.1f} | {', '.join(rivals)} | {cells} |"


def _contenders(table: Table) -> Iterator[str]:
    names = list(dict.fromkeys(name for cell in table.cells for name in table.contenders(cell)))
    yield f"| vllm's mean completion over theirs | {' | '.join(f'{level:g} L' for level in LEVELS)} | worst cell |"
    yield "|---|" + "---|" * (len(LEVELS) + 1)
    rows = [(name, [_gains(table, name, level) for level in LEVELS]) for name in names]
    for name, levels in sorted(rows, key=lambda row: -fmean(math.log(gain) for gains in row[1] for gain in gains)):
        means = (f"{math.exp(fmean(map(math.log, gains))):.2f}" if gains else "" for gains in levels)
        yield f"| {name} | {' | '.join(means)} | {min(gain for gains in levels for gain in gains):.2f} |"


def _gains(table: Table, name: str, level: float) -> list[float]:
    found = []
    for cell in table.cells:
        if cell.level == level and name in table.contenders(cell):
            ratio = paired_ratio(table.values(cell, STOCK, _mean), table.values(cell, name, _mean))
            if ratio is not None:
                found.append(ratio.value)
    return found


def _mean(score: Score) -> float:
    return score.mean


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "–"
    return f"{ratio.value:.2f}" + ("" if ratio.low is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]")
