"""The benchmark as a picture: the share of queries in time over the load, under each order."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from simulator.report.axis import Axis
from tests.benchmarks.lines import Lines
from tests.benchmarks.text2sql_sim.contenders import MAIN, ORDERS, ROUND_ROBIN
from tests.benchmarks.text2sql_sim.grid import LEVELS
from tests.benchmarks.text2sql_sim.play import Game, Task
from tests.benchmarks.text2sql_sim.score import Score
from tests.benchmarks.text2sql_sim.table import Table


def picture(scores: Mapping[Game, Score | None]) -> str:
    """An SVG: means over the cells and seeds that all of them have played."""
    table = Table(scores)
    played = [(cell, seed) for cell in table.cells for seed in table.seeds(cell, MAIN)]

    def attained(name: str, level: float) -> float:
        found = (table.tasks[Task(cell, name, seed)][level] for cell, seed in played)
        return fmean(0.0 if score is None else 100 * score.attained for score in found)

    lines = {name: [(level, attained(name, level)) for level in LEVELS] for name in (*ORDERS, ROUND_ROBIN) if played}
    return Lines(
        "Queries within their objective",
        Axis(min(LEVELS), max(LEVELS)),
        Axis(0, 100, " %"),
        "load, in multiples of what the fleet can serve",
        lines,
        {},
    ).svg()
