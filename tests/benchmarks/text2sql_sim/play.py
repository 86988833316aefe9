"""Plays what is missing of the benchmark, kept line by line, so that it can be cut off and go on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from scheduler.policy import Choice, PolicyConfig
from scheduler.types import Seconds
from simulator.gateway import SimulationError
from simulator.tune.resample import Family
from simulator.world import simulate
from tests.benchmarks.drawing import RULES, Workload, alone_times, draw, origin, warm
from tests.benchmarks.progress import bar, counted
from tests.benchmarks.text2sql_sim.contenders import CONTENDERS
from tests.benchmarks.text2sql_sim.grid import FLEET, WARM_UP, Cell, Ground, pool, workload
from tests.benchmarks.text2sql_sim.score import Score, next_level, score

YARDSTICK = PolicyConfig(
    "yardstick", Choice("none"), Choice("program_fcfs"), Choice("least_delay"), Choice("memory"), Choice("none")
)
"""Of what the fleet can serve. None of the contenders, so that it stays the same when they change."""
MEASURED = 120
"""Queries that it is measured with."""


class Game(NamedTuple):
    """One replay. The level is a multiple of what the fleet can serve."""

    cell: Cell
    contender: str
    seed: int
    level: float


class Task(NamedTuple):
    """All loads of one contender with one seed."""

    cell: Cell
    contender: str
    seed: int


@dataclass(frozen=True, slots=True)
class Base:
    """What is known of a ground before anybody plays: its pool, and what its loads and objectives are multiples of."""

    families: Sequence[Family]
    alone: Mapping[str, Seconds]
    """Completion of each query of the pool with the fleet to itself."""
    capacity: float
    """Queries a second that the fleet ends when all are there from the beginning."""


@cache
def base(ground: Ground, folder: Path) -> Base:
    """Measures a ground. The same on every machine."""
    families = pool(ground, folder)
    programs = draw(replace(workload(ground), count=MEASURED), families, math.inf, 0, 0)
    simulation = simulate(programs, FLEET, YARDSTICK, rules=RULES)
    return Base(families, alone_times(families, FLEET), MEASURED / simulation.makespan)


def play(game: Game, known: Base, played: Workload | None = None) -> Score:
    """One replay. The same seed is the same queries, arrivals and bytes for every contender."""
    played = played or workload(game.cell.ground)
    programs = draw(played, known.families, game.level * known.capacity, game.seed, WARM_UP)
    objectives = {program.id: game.cell.scale * known.alone[origin(program.id)] for program in programs}
    dated = [replace(program, objective_s=objectives[program.id]) for program in programs]
    started = time.process_time()
    simulation = simulate(dated, FLEET, CONTENDERS[game.contender], seed=game.seed, rules=RULES)
    cpu = time.process_time() - started
    left_out = warm(programs, WARM_UP)
    counting = {name: objective for name, objective in objectives.items() if name not in left_out}
    return score(simulation, counting, known.alone, cpu)


def play_all(task: Task, attained: Mapping[float, float], folder: Path) -> list[tuple[Game, Score | None]]:
    """Plays the loads of a task that are missing. A contender that leaves queries unfinished has no score there."""
    known = base(task.cell.ground, folder)
    found: list[tuple[Game, Score | None]] = []
    have = dict(attained)
    while (level := next_level(have)) is not None:
        game = Game(*task, level)
        try:
            result = play(game, known)
        except SimulationError:
            result = None
        have[level] = 0.0 if result is None else result.attained
        found.append((game, result))
    return found


class Results:
    """Scores, kept in a file of JSON Lines as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scores: dict[Game, Score | None] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            record = json.loads(line)
            game = Game(Cell(*record["cell"]), record["contender"], record["seed"], record["level"])
            self.scores[game] = None if record["score"] is None else _score(record["score"])

    def add(self, game: Game, result: Score | None) -> None:
        """Keeps one."""
        self.scores[game] = result
        record = {
            "cell": list(game.cell),
            "contender": game.contender,
            "seed": game.seed,
            "level": game.level,
            "score": None if result is None else result.rounded(),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def attained(self, task: Task) -> dict[float, float]:
        """The attainment of a contender with a seed, at each load that it has played."""
        return attained(self.scores, task)


def attained(scores: Mapping[Game, Score | None], task: Task) -> dict[float, float]:
    """The attainment of a contender with a seed, at each load that it has played."""
    return {
        game.level: 0.0 if result is None else result.attained for game, result in scores.items() if game[:3] == task
    }


def _score(record: Mapping[str, float | None]) -> Score:
    return Score(**{name: math.inf if value is None else value for name, value in record.items()})  # type: ignore[arg-type]


def play_missing(tasks: Sequence[Task], results: Results, folder: Path, jobs: int) -> None:
    """Plays what is missing of the tasks, in their order, with so many processes."""
    todo = [(task, results.attained(task)) for task in tasks]
    todo = [(task, known) for task, known in todo if next_level(known) is not None]
    with _workers(jobs) as pool, bar() as progress:
        futures = [pool.submit(play_all, task, known, folder) for task, known in todo]
        for found in counted(progress, "contenders and seeds", futures):
            for game, result in found:
                results.add(game, result)


@contextmanager
def _workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(jobs, get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
