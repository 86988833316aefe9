"""What a tournament says: Markdown tables from the scores that were kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    """The scores of a tournament, by cell, contender and seed. Two are compared on the seeds that both have played."""

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
        """Those of the tournament proper that ours and a rival have played."""
        proper = (cell for cell in self.played if cell.workload not in ROBUSTNESS)
        return [cell for cell in proper if OURS in self.played[cell] and self.rivals(cell)]

    def rivals(self, cell: Cell) -> list[str]:
        """Who has played there against ours."""
        return [name for name in self.played[cell] if name not in {OURS, *ABLATIONS, *ORACLES}]

    def seeds(self, cell: Cell, contenders: Iterable[str]) -> list[int]:
        """Those that all of these have played."""
        return sorted(set.intersection(*(self.played[cell][name] for name in contenders)))

    def whole(self) -> Table:
        """Without the seeds that some presets have not played: who is compared with all has to meet the same seeds."""
        seeds = {cell: self.seeds(cell, (OURS, *self.rivals(cell))) for cell in self.cells}
        return Table({game: score for game, score in self.scores.items() if game.seed in seeds.get(game.cell, ())})

    def values(self, cell: Cell, contender: str, seeds: Iterable[int], of: Figure) -> list[float]:
        """A figure by seed."""
        scores = (self.scores[Game(cell, contender, seed)] for seed in seeds)
        return [UNFINISHED if score is None else of(score) for score in scores]

    def best_rival(self, cell: Cell, seed: int) -> str:
        """Whose mean completion is best over the *other* seeds that all rivals have played (or on this only one)."""
        rivals = self.rivals(cell)
        whole = self.seeds(cell, rivals)
        others = [other for other in whole if other != seed] or whole
        return min(rivals, key=lambda rival: _geometric(self.values(cell, rival, others, _mean)))

    def finals(self, cell: Cell) -> dict[int, str]:
        """The best rival of each seed that it and ours have played."""
        best = {seed: self.best_rival(cell, seed) for seed in sorted(self.played[cell][OURS])}
        return {seed: rival for seed, rival in best.items() if seed in self.played[cell][rival]}

    def best(self, cell: Cell, seeds: Iterable[int]) -> list[float]:
        """The best rival's mean completion by seed, of those of the finals."""
        finals = self.finals(cell)
        return [value for seed in seeds for value in self.values(cell, finals[seed], [seed], _mean)]

    def against_best(self, cell: Cell) -> Ratio | None:
        """The best rival's mean completion over ours."""
        seeds = list(self.finals(cell))
        return paired_ratio(self.best(cell, seeds), self.values(cell, OURS, seeds, _mean))

    def against(self, cell: Cell, over: str, under: str, of: Figure) -> Ratio | None:
        """One contender's figure over another's; None where one of them has not played."""
        if not {over, under} <= self.played[cell].keys():
            return None
        seeds = self.seeds(cell, (over, under))
        return paired_ratio(self.values(cell, over, seeds, of), self.values(cell, under, seeds, of))

    def bound(self, cell: Cell) -> dict[int, float]:
        """By seed, the best mean completion of all that have played it, where those that are told the future have."""
        if not set(ORACLES) <= set(self.played[cell]):
            return {}
        seeds = [seed for seed in self.seeds(cell, ORACLES) if seed in self.finals(cell)]
        there = {seed: [name for name, by in self.played[cell].items() if seed in by] for seed in seeds}
        return {seed: min(self.values(cell, name, [seed], _mean)[0] for name in there[seed]) for seed in seeds}


def finalists(scores: Mapping[Game, Score | None], cell: Cell, seed: int) -> tuple[str, str, str]:
    """Who has to play a seed of which only the figures against the best rival and stock vLLM are wanted."""
    return OURS, STOCK, Table(scores).best_rival(cell, seed)


def report(scores: Mapping[Game, Score | None]) -> str:
    """All tables."""
    table = Table(scores)
    parts = (_levels, _cells, _contenders, _ablations, _oracles, _starvation, _robustness)
    return "\n".join(line for part in parts for line in (*part(table), ""))


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
        finals = table.finals(cell)
        figures = [
            table.against_best(cell),
            table.against(cell, STOCK, OURS, _mean),
            table.against(cell, STOCK, OURS, lambda score: score.slowdown_p99),
            table.against(cell, STOCK, OURS, lambda score: score.later_ttft_p99),
        ]
        ours = fmean(table.values(cell, OURS, finals, _mean))
        cells = " | ".join(_ratio(figure) for figure in figures)
        seeds = table.seeds(cell, (STOCK, OURS))
        fair = " | ".join(f"{fmean(table.values(cell, name, seeds, _jain)):.2f}" for name in (STOCK, OURS))
        rivals = ", ".join(dict.fromkeys(finals.values()))
        yield f"| {cell} | {len(finals)} | {ours:,.1f} | {rivals} | {cells} | {fair} |"


def _contenders(table: Table) -> Iterator[str]:
    yield "## By contender"
    yield ""
    table = table.whole()
    names = list(dict.fromkeys(name for cell in table.cells for name in (OURS, *table.rivals(cell))))
    yield f"| vllm's mean completion over theirs | {' | '.join(f'{level:g} L' for level in LEVELS)} | worst cell |"
    yield "|---|" + "---|" * (len(LEVELS) + 1)
    rows = [(name, [ratios(table, STOCK, name, level) for level in LEVELS]) for name in names]
    for name, levels in sorted(rows, key=lambda row: -fmean(math.log(gain) for gains in row[1] for gain in gains)):
        means = (f"{_geometric(gains):.2f}" if gains else "" for gains in levels)
        yield f"| {name} | {' | '.join(means)} | {min(gain for gains in levels for gain in gains):.2f} |"


def ratios(table: Table, over: str, under: str, level: float) -> list[float]:
    """One contender's mean completion over another's, in each cell of a level that both have played."""
    found = (table.against(cell, over, under, _mean) for cell in table.cells if cell.level == level)
    return [ratio.value for ratio in found if ratio is not None]


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
            if cell.level == level and bound:
                ours = table.values(cell, OURS, bound, _mean)
                rows.append((fmean(table.best(cell, bound)), fmean(ours), fmean(bound.values())))
        if rows:
            gains = f"{_geometric([best / bound for best, _, bound in rows]):.2f}"
            behind = f"{_geometric([mean / bound for _, mean, bound in rows]):.2f}"
            open_ones = [(best - mean) / (best - bound) for best, mean, bound in rows if best > HEADROOM * bound]
            way = f"{fmean(open_ones):.0%}" if open_ones else "–"
            yield f"| {level:g} L | {len(rows)} | {gains} | {behind} | {len(open_ones)} | {way} |"


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
        found = [(1 / ratio.value, cell) for cell in table.cells if (ratio := table.against(cell, STOCK, OURS, figure))]
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
            figures = " | ".join(_ratio(table.against(cell, name, OURS, _mean)) for name in (PLAIN, STOCK))
            yield f"| {cell} | {len(table.seeds(cell, (OURS, PLAIN, STOCK)))} | {figures} |"


def _mean(score: Score) -> float:
    return score.mean


def _jain(score: Score) -> float:
    return score.jain


def _ratio(ratio: Ratio | None) -> str:
    return "–" if ratio is None else str(ratio)
