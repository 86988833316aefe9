"""Plays what is missing of a tournament."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tests.benchmarks.progress import bar, counted
from tests.benchmarks.tournament.grid import Cell
from tests.benchmarks.tournament.play import Game, Ground, Results, Worker, base_file
from tests.benchmarks.tournament.report import finalists
from tests.benchmarks.tournament.where import Submit


def tournament(
    cells: Sequence[Cell],
    contenders: Sequence[str] | None,
    seeds: Sequence[int],
    folder: Path,
    results: Results,
    place: AbstractContextManager[Submit],
) -> None:
    """Measures the grounds and plays the games that are missing. Seed by seed, so that a cut-off one is whole.

    Without contenders those play that the figures against the best rival need, which is known from earlier seeds.
    """
    grounds = list(dict.fromkeys(Ground(cell.workload, cell.fleet) for cell in cells))
    missing = [ground for ground in grounds if not base_file(folder, ground).exists()]
    games = [
        game
        for seed in seeds
        for cell in cells
        for contender in contenders or finalists(results.scores, cell, seed)
        if (game := Game(cell, contender, seed)) not in results.scores
    ]
    with place as submit, bar() as progress:
        for _ in counted(progress, "finding L", [submit(Worker.measure, ground) for ground in missing]):
            pass
        for game, score in counted(progress, "games", [submit(Worker.play, game) for game in games]):
            results.add(game, score)
