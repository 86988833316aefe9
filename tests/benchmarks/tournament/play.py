"""Plays a tournament on all cores: what is missing of it, kept line by line, so that it can be cut off and go on."""

from __future__ import annotations

import json
import math
import pickle
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

from scheduler.policy import PRESETS, Choice, PolicyConfig
from scheduler.types import Seconds
from simulator.gateway import SimulationError
from simulator.tune.resample import Family
from tests.benchmarks.drawing import alone_times
from tests.benchmarks.tournament.grid import ALL, Cell, fleet
from tests.benchmarks.tournament.score import TOLD, Score, play

T = TypeVar("T")
STOCK = "vllm"
LIMIT = 5.0
"""L is where the P95 slowdown of stock vLLM is this."""
PRECISION = 1.03

OURS = PRESETS["agentserve"]
ABLATIONS: Mapping[str, PolicyConfig] = {
    "agentserve, program FCFS": replace(OURS, order=Choice("program_fcfs")),
    "agentserve, sticky placement": replace(OURS, placement=Choice("sticky")),
    "agentserve, unlimited admission": replace(OURS, admission=Choice("unlimited")),
    "agentserve, growth not reserved": replace(OURS, admission=Choice("working_set", (("growth", 0.0),))),
    "agentserve, pins of 2 s": replace(OURS, retention=Choice("fixed_ttl", (("ttl", 2.0),))),
    "agentserve, no pins": replace(OURS, retention=Choice("none")),
}
"""The flagship with one of its parts replaced by a plain one."""
ORACLES: Mapping[str, PolicyConfig] = {
    "oracle": OURS,
    "oracle, shortest first": replace(OURS, order=Choice("expected_remaining", (("ageing", 0.01),))),
    "oracle, fcfs_ttl": PRESETS["fcfs_ttl"],
}
"""Policies that are told the true gaps, answers' lengths and numbers of calls. The best of them and of all is the bound."""
CONTENDERS: Mapping[str, PolicyConfig] = {**PRESETS, **ABLATIONS, **ORACLES}


class Ground(NamedTuple):
    """A workload on a fleet: what its load, and its slowdowns, are measured by."""

    workload: str
    fleet: str


@dataclass(frozen=True, slots=True)
class Base:
    """L of a ground in programs a second, and the completion of each program of the pool with the fleet to itself."""

    rate: float
    alone: dict[str, Seconds]


class Game(NamedTuple):
    """One replay. Its score is None where the policy left calls without an answer."""

    cell: Cell
    contender: str
    seed: int


class Worker:
    """What a process keeps between its games."""

    pools: ClassVar[dict[str, list[Family]]]
    bases: ClassVar[dict[Ground, Base]] = {}
    folder: ClassVar[Path]

    @classmethod
    def begin(cls, folder: Path) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        cls.folder = folder
        with (folder / "pools.pickle").open("rb") as file:
            cls.pools = pickle.load(file)

    @classmethod
    def base(cls, ground: Ground) -> Base:
        """Of a ground that has been measured."""
        if ground not in cls.bases:
            state = json.loads(base_file(cls.folder, ground).read_text())
            cls.bases[ground] = Base(state["rate"], state["alone"])
        return cls.bases[ground]

    @classmethod
    def measure(cls, ground: Ground) -> Ground:
        """Finds L by bisection, and writes it down."""
        workload, families, engines = ALL[ground.workload], cls.pools[ground.workload], fleet(ground.fleet)
        alone = alone_times(families, engines)
        usual = sum(alone.values()) / len(alone)

        def slowdown(rate: float) -> float:
            return play(workload, families, engines, PRESETS[STOCK], rate, 0, alone).slowdown_p95

        low = high = len(engines) / usual
        while slowdown(high) < LIMIT:
            low, high = high, 2 * high
        while low == high or slowdown(low) >= LIMIT:
            if low < high:
                high = low
            low /= 2
        while high / low > PRECISION:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if slowdown(middle) < LIMIT else (low, middle)
        state = {
            "workload": ground.workload,
            "fleet": ground.fleet,
            "rate": math.sqrt(low * high),
            "alone": dict(alone),
        }
        base_file(cls.folder, ground).write_text(json.dumps(state))
        return ground

    @classmethod
    def play(cls, game: Game) -> tuple[Game, Score | None]:
        """Plays one game."""
        cell = game.cell
        base = cls.base(Ground(cell.workload, cell.fleet))
        workload, families = ALL[cell.workload], cls.pools[cell.workload]
        try:
            policy, rate = CONTENDERS[game.contender], cell.level * base.rate
            rules = TOLD if game.contender in ORACLES else None
            return game, play(workload, families, fleet(cell.fleet), policy, rate, game.seed, base.alone, rules)
        except SimulationError:
            return game, None


def base_file(folder: Path, ground: Ground) -> Path:
    """Where a ground's base is kept."""
    return folder / f"{ground.workload}, {ground.fleet}.json".replace(" ", "-")


def loads(folder: Path) -> dict[str, float]:
    """L of every ground that was measured, in programs a second."""
    states = (json.loads(file.read_text()) for file in sorted(folder.glob("*.json")))
    return {f"{state['workload']} / {state['fleet']}": float(f"{state['rate']:.4g}") for state in states}


class Results:
    """Scores, kept in a file of JSON Lines as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scores: dict[Game, Score | None] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                record = json.loads(line)
                game = Game(Cell(*record["cell"]), record["contender"], record["seed"])
                self.scores[game] = None if record["score"] is None else Score(**record["score"])

    def add(self, game: Game, score: Score | None) -> None:
        """Keeps one."""
        self.scores[game] = score
        cell = game.cell
        record = {
            "cell": [cell.workload, cell.fleet, cell.level],
            "contender": game.contender,
            "seed": game.seed,
            "score": None if score is None else rounded(score),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def rounded(score: Score) -> dict[str, float]:
    """A score with four digits: no figure is known better."""
    return {name: value if isinstance(value, int) else float(f"{value:.4g}") for name, value in asdict(score).items()}
