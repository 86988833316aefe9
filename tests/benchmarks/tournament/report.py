"""What a tournament says: Markdown tables from the scores that were kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from simulator.intervals import Ratio, paired_ratio
from tests.benchmarks.tournament.grid import LEVELS, ROBUSTNESS, Cell
from tests.benchmarks.tournament.play import ABLATIONS, ORACLES, STOCK, Game
from tests.benchmarks.tournament.score import Score

OURS = "agentserve"
PLAIN = "fcfs_ttl"
"""What ours is held against where nothing can be learned."""
UNFINISHED = 1e6
"""Seconds that stand for the mean completion of a policy that left calls without an answer."""
HEADROOM = 1.02
"""An oracle that is better than the best rival by less shows that there is nothing to be gained in a cell."""

Figure = Callable[[Score], float]


@dataclass(frozen=True)
class Table:
    """The scores of a tournament, by cell, contender and seed, of the seeds that every contender has played."""

    scores: Mapping[Game, Score | None]

    @cached_property
    def played(self) -> Mapping[Cell, Mapping[str, set[int]]]:
        """Which seeds each contender has played in each cell."""
        found: dict[Cell, dict[str, set[int]]] = {}
        for game in self.scores:
            found.setdefault(game.cell, {}).setdefault(game.contender, set()).add(game.seed)
        return found

    @property
    def cells(self) -> list[Cell]:
        """Those of the tournament proper that ours has played."""
        return [cell for cell, by in self.played.items() if OURS in by and cell.workload not in ROBUSTNESS]

    def rivals(self, cell: Cell) -> list[str]:
        """Who has played there against ours."""
        return [name for name in self.played[cell] if name != OURS and name not in ABLATIONS and name not in ORACLES]

    def seeds(self, cell: Cell) -> list[int]:
        """The seeds that all of them have played."""
        return sorted(set.intersection(*self.played[cell].values()))

    def values(self, cell: Cell, contender: str, of: Figure) -> list[float]:
        """A figure by seed."""
        scores = (self.scores[Game(cell, contender, seed)] for seed in self.seeds(cell))
        return [UNFINISHED if score is None else of(score) for score in scores]

    def best_rivals(self, cell: Cell) -> list[str]:
        """For each seed the rival with the best mean completion over the *other* seeds (of all, if there is one)."""
        rivals = self.rivals(cell)
        logs = {rival: [math.log(value) for value in self.values(cell, rival, _mean)] for rival in rivals}
        found = []
        for left_out in range(len(self.seeds(cell))):
            others = [index for index in range(len(self.seeds(cell))) if index != left_out] or [left_out]
            found.append(min(rivals, key=lambda rival: fmean(logs[rival][index] for index in others)))
        return found

    def best(self, cell: Cell) -> list[float]:
        """The best rival's mean completion by seed."""
        chosen = self.best_rivals(cell)
        return [self.values(cell, rival, _mean)[index] for index, rival in enumerate(chosen)]

    def against_best(self, cell: Cell) -> Ratio | None:
        """The best rival's mean completion over ours."""
        return paired_ratio(self.best(cell), self.values(cell, OURS, _mean))

    def against(self, cell: Cell, rival: str, of: Figure) -> Ratio | None:
        """A rival's figure over ours."""
        if rival not in self.played[cell]:
            return None
        return paired_ratio(self.values(cell, rival, of), self.values(cell, OURS, of))

    def bound(self, cell: Cell) -> list[float] | None:
        """The best mean completion by seed of all, those that are told the future included."""
        if not set(ORACLES) <= set(self.played[cell]):
            return None
        return [
            min(column) for column in zip(*(self.values(cell, name, _mean) for name in self.played[cell]), strict=True)
        ]


def table_of_presets(scores: Mapping[Game, Score | None]) -> Table:
    """Without ablations and oracles, whose seeds the presets need not wait for."""
    return Table({game: score for game, score in scores.items() if game.contender not in {*ABLATIONS, *ORACLES}})


def report(scores: Mapping[Game, Score | None]) -> str:
    """All tables."""
    everybody = Table(scores)
    presets = table_of_presets(scores)
    parts = (
        *(part(presets) for part in (_levels, _cells, _contenders)),
        *(part(everybody) for part in (_ablations, _oracles)),
        *(part(presets) for part in (_starvation, _robustness)),
    )
    return "\n".join(line for part in parts for line in (*part, ""))


def _levels(table: Table) -> Iterator[str]:
    yield "## By load"
    yield ""
    yield "| load | cells | best rival / ours, geometric mean | worst cell | vllm / ours, geometric mean | worst cell |"
    yield "|---|---|---|---|---|---|"
    for level in LEVELS:
        cells = [cell for cell in table.cells if cell.level == level]
        best = [ratio.value for cell in cells if (ratio := table.against_best(cell))]
        stock = ratios(table, STOCK, OURS, level)
        if best and stock:
            yield f"| {level:g} L | {len(cells)} | {_summary(best)} | {_summary(stock)} |"


def _summary(values: Sequence[float]) -> str:
    return f"{_geometric(values):.2f} | {min(values):.2f}"


def _geometric(values: Sequence[float]) -> float:
    return math.exp(fmean(map(math.log, values)))


def _cells(table: Table) -> Iterator[str]:
    yield "## By cell"
    yield ""
    yield (
        "| cell | seeds | ours, mean (s) | best rival | best rival / ours | vllm / ours | P99 slowdown, vllm / ours | "
        "later TTFT P99, vllm / ours | Jain, vllm | Jain, ours |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
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
        fair = " | ".join(f"{fmean(table.values(cell, name, _jain)):.2f}" for name in (STOCK, OURS))
        yield f"| {cell} | {len(table.seeds(cell))} | {ours:,.1f} | {', '.join(rivals)} | {cells} | {fair} |"


def _contenders(table: Table) -> Iterator[str]:
    yield "## By contender"
    yield ""
    names = list(dict.fromkeys(name for cell in table.cells for name in (OURS, *table.rivals(cell))))
    yield f"| vllm's mean completion over theirs | {' | '.join(f'{level:g} L' for level in LEVELS)} | worst cell |"
    yield "|---|" + "---|" * (len(LEVELS) + 1)
    rows = [(name, [ratios(table, STOCK, name, level) for level in LEVELS]) for name in names]
    for name, levels in sorted(rows, key=lambda row: -fmean(math.log(gain) for gains in row[1] for gain in gains)):
        means = (f"{_geometric(gains):.2f}" if gains else "" for gains in levels)
        yield f"| {name} | {' | '.join(means)} | {min(gain for gains in levels for gain in gains):.2f} |"


def ratios(table: Table, over: str, under: str, level: float) -> list[float]:
    """One contender's mean completion over another's, in each cell of a level that both have played."""
    found = []
    for cell in table.cells:
        if cell.level == level and {over, under} <= table.played[cell].keys():
            ratio = paired_ratio(table.values(cell, over, _mean), table.values(cell, under, _mean))
            if ratio is not None:
                found.append(ratio.value)
    return found


def _ablations(table: Table) -> Iterator[str]:
    yield "## What each part is worth"
    yield ""
    yield f"| without it, mean completion over ours | {' | '.join(f'{level:g} L' for level in LEVELS)} | best cell | worst cell |"
    yield "|---|" + "---|" * (len(LEVELS) + 2)
    for name in ABLATIONS:
        levels = [ratios(table, name, OURS, level) for level in LEVELS]
        whole = [ratio for found in levels for ratio in found]
        if whole:
            means = " | ".join(f"{_geometric(found):.3f}" if found else "" for found in levels)
            yield f"| {name.removeprefix(OURS + ', ')} | {means} | {max(whole):.2f} | {min(whole):.2f} |"


def _oracles(table: Table) -> Iterator[str]:
    yield "## How far it is to the oracle"
    yield ""
    yield (
        "| load | cells | best rival / oracle | ours / oracle | cells where the oracle gains 2 % on the best rival | "
        "of the way there, mean |"
    )
    yield "|---|---|---|---|---|---|"
    for level in LEVELS:
        rows = []
        for cell in table.cells:
            bound = table.bound(cell)
            if cell.level == level and bound is not None:
                rows.append((fmean(table.best(cell)), fmean(table.values(cell, OURS, _mean)), fmean(bound)))
        if rows:
            rival = _geometric([best / bound for best, _, bound in rows])
            ours = _geometric([mean / bound for _, mean, bound in rows])
            open_ones = [(best - mean) / (best - bound) for best, mean, bound in rows if best > HEADROOM * bound]
            way = f"{fmean(open_ones):.0%}" if open_ones else "–"
            yield f"| {level:g} L | {len(rows)} | {rival:.2f} | {ours:.2f} | {len(open_ones)} | {way} |"


def _starvation(table: Table) -> Iterator[str]:
    yield "## Waits and slowdowns against stock vLLM"
    yield ""
    yield "| figure | cells where ours is worse by more than 5 % | worst, ours / vllm | there |"
    yield "|---|---|---|---|"
    figures: Mapping[str, Figure] = {
        "later calls' wait, P99": lambda score: score.later_ttft_p99,
        "later calls' wait, max": lambda score: score.later_ttft_max,
        "slowdown, P99": lambda score: score.slowdown_p99,
        "slowdown, max": lambda score: score.slowdown_max,
    }
    for name, figure in figures.items():
        found = [(1 / ratio.value, cell) for cell in table.cells if (ratio := table.against(cell, STOCK, figure))]
        if found:
            worst, where = max(found, key=lambda pair: pair[0])
            yield f"| {name} | {sum(value > 1.05 for value, _ in found)} of {len(found)} | {worst:.2f} | {where} |"


def _robustness(table: Table) -> Iterator[str]:
    yield "## Where nothing can be learned, or what was learned is wrong"
    yield ""
    yield f"| cell | seeds | {PLAIN} / ours | vllm / ours |"
    yield "|---|---|---|---|"
    for cell, played in table.played.items():
        if cell.workload in ROBUSTNESS and {OURS, PLAIN, STOCK} <= set(played):
            figures = " | ".join(_ratio(table.against(cell, name, _mean)) for name in (PLAIN, STOCK))
            yield f"| {cell} | {len(table.seeds(cell))} | {figures} |"


def _mean(score: Score) -> float:
    return score.mean


def _jain(score: Score) -> float:
    return score.jain


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "–"
    return f"{ratio.value:.2f}" + ("" if ratio.low is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]")
