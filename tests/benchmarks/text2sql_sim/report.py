"""What the benchmark says: Markdown tables from the scores that were kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from simulator.intervals import Interval, Ratio
from tests.benchmarks.text2sql_sim.contenders import (
    ABLATIONS,
    FCFS,
    FURTHER,
    ORDERS,
    OURS,
    RIVALS,
    ROUND_ROBIN,
    SWEEP,
    URGENCIES,
    URGENCY,
)
from tests.benchmarks.text2sql_sim.grid import LEVELS, PARTS, Cell
from tests.benchmarks.text2sql_sim.play import Game
from tests.benchmarks.text2sql_sim.score import Score
from tests.benchmarks.text2sql_sim.table import Table

AGAINST = tuple(name for name in ORDERS if name != OURS)
"""The other orders with the same placement."""


HEAD = """# Text-to-SQL with deadlines: the tables

Made by `python -m tests.benchmarks.text2sql_sim --report` from [text2sql-sim.jsonl](text2sql-sim.jsonl). What was
played, and what it says: [../text2sql-sim.md](../text2sql-sim.md). Ratios are geometric means with paired 95 % intervals
over the seeds that both sides have played; a row without an interval has one seed.
"""


def report(scores: Mapping[Game, Score | None]) -> str:
    """A page with all tables."""
    table = Table(scores)
    parts = (_orders, _attainment, _round_robin, _parts, _sweep, _sustained)
    return "\n".join([HEAD, *(line for part in parts for line in (*part(table), ""))])


def _orders(table: Table) -> Iterator[str]:
    yield f"## Sustained load of {OURS} over that of other orders, with the same placement"
    yield ""
    yield f"| cell | seeds | {' | '.join(AGAINST)} |"
    yield "|---|---|" + "---|" * len(AGAINST)
    for cell in _cells(table):
        ratios = " | ".join(_ratio(table.load_ratio(cell, OURS, name)) for name in AGAINST)
        yield f"| {cell} | {len(table.seeds(cell, ORDERS))} | {ratios} |"
    means = " | ".join(_ratio(table.mean_load_ratio(_cells(table), OURS, name)) for name in AGAINST)
    yield f"| **geometric mean** | | {means} |"


def _attainment(table: Table) -> Iterator[str]:
    yield f"## Queries in time under {OURS}, in points more than under another order"
    yield ""
    yield f"| load | {' | '.join(AGAINST)} | cells where the interval is below 0 |"
    yield "|---|" + "---|" * (len(AGAINST) + 1)
    cells = _cells(table)
    for level in LEVELS:
        gains = " | ".join(_interval(table.gain(cells, OURS, name, level)) for name in AGAINST)
        worse = [
            f"{cell} ({name})" for cell in cells for name in AGAINST if _below(table.gain([cell], OURS, name, level))
        ]
        yield f"| {level:g} | {gains} | {'; '.join(worse) or 'none'} |"


def _round_robin(table: Table) -> Iterator[str]:
    yield "## Against FCFS with round robin"
    yield ""
    yield "| figure | placement alone (FCFS) | order on top of it | together |"
    yield "|---|---|---|---|"
    cells = _cells(table)
    steps = ((FCFS, ROUND_ROBIN), (OURS, FCFS), (OURS, ROUND_ROBIN))
    loads = " | ".join(_ratio(table.mean_load_ratio(cells, *pair)) for pair in steps)
    yield f"| sustained load, times | {loads} |"
    for level in LEVELS:
        ratios = (table.mean_figure_ratio(cells, base, name, level, _p95) for name, base in steps)
        yield f"| P95 latency at {level:g}, times shorter | {' | '.join(map(_ratio, ratios))} |"


def _parts(table: Table) -> Iterator[str]:
    yield "## Parts and presets"
    yield ""
    others = [*ABLATIONS, FCFS, *URGENCIES, *FURTHER, *RIVALS, ROUND_ROBIN]
    cells = [cell for cell in _cells(table) if cell in PARTS]
    yield f"| | sustained load over that of {OURS} | P95 over its, at {' | at '.join(f'{level:g}' for level in LEVELS)} |"
    yield "|---|---|" + "---|" * len(LEVELS)
    for name in others if cells else []:
        ratios = (table.mean_figure_ratio(cells, name, OURS, level, _p95) for level in LEVELS)
        shown = " | ".join(map(_ratio, ratios))
        yield f"| {name} | {_ratio(table.mean_load_ratio(cells, name, OURS))} | {shown} |"


def _sweep(table: Table) -> Iterator[str]:
    yield f"## HexGen's dispatch (`balanced`) by alpha, in the place of the placement of {URGENCY}"
    yield ""
    cells = [cell for cell in _cells(table) if table.seeds(cell, SWEEP)]
    yield f"| | sustained load over that of {URGENCY} | in time, points more than under it, at {' | at '.join(f'{level:g}' for level in LEVELS)} |"
    yield "|---|---|" + "---|" * len(LEVELS)
    for name in SWEEP if cells else ():
        gains = " | ".join(_interval(table.gain(cells, name, URGENCY, level)) for level in LEVELS)
        yield f"| {name} | {_ratio(table.mean_load_ratio(cells, name, URGENCY))} | {gains} |"


def _sustained(table: Table) -> Iterator[str]:
    yield "## Sustained load, in multiples of what the fleet can serve"
    yield ""
    names = [ROUND_ROBIN, *ORDERS]
    yield f"| cell | {' | '.join(names)} |"
    yield "|---|" + "---|" * len(names)
    for cell in _cells(table):
        seeds = table.seeds(cell, names)
        means = (_mean([table.load(cell, name, seed) for seed in seeds]) for name in names)
        yield f"| {cell} | {' | '.join(means)} |"


def _cells(table: Table) -> list[Cell]:
    """The cells in which all orders have played a seed."""
    return [cell for cell in table.cells if table.seeds(cell, ORDERS)]


def _p95(score: Score) -> float:
    return score.p95


def _below(gain: Interval | None) -> bool:
    return gain is not None and gain.half is not None and gain.mean + gain.half < 0


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "–"


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "–"
    return f"{ratio.value:.2f}" + ("" if ratio.low is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]")


def _interval(found: Interval | None) -> str:
    if found is None:
        return "–"
    mean = f"{found.mean:+.1f}"
    return mean if found.half is None else f"{mean} [{found.mean - found.half:+.1f}, {found.mean + found.half:+.1f}]"
