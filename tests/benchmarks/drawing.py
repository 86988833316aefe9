"""What the benchmarks of the simulator replay: programs drawn from a pool, and which of them count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random

from scheduler.types import Seconds
from simulator.client import ClientRules
from simulator.compare import Setting, completions_alone
from simulator.fleet import EngineModel
from simulator.trace import families
from simulator.tune.resample import Family, moved
from workloads.program import Program

RULES = ClientRules(announce_end=True, exact_lengths=False)
"""Clients say which call is a program's last one, and nothing of lengths."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Programs of one kind: a pool that each seed draws from, and how many it draws."""

    name: str
    pool: Callable[[Path], Sequence[Family]]
    """Of the folder with the public traces; those that generate their programs need none."""
    count: int = 1000
    burst: float = 1.0
    """Programs that arrive together, on average."""
    shifts: bool = False
    """The first half of those that count is drawn from the first half of the pool, the second from the second."""
    rules: ClientRules = RULES


def draw(workload: Workload, families: Sequence[Family], rate: float, seed: int, warm_up: int) -> list[Program]:
    """The programs of one seed: `warm_up` calls' worth of programs, and those that count, in a Poisson process.

    Bursts have a geometric size; they arrive as such a process at a rate that leaves that of programs as it is. The
    same seed at another rate stretches the same arrivals.
    """
    rng = Random(f"tournament/{workload.name}/{seed}")
    programs: list[Program] = []
    now, calls, counted = 0.0, 0, 0
    while counted < workload.count:
        half, late = len(families) // 2, counted >= workload.count // 2
        choices = (families[half:] if late else families[:half]) if workload.shifts else families
        family = rng.choice(choices)
        number = len(programs)
        programs += moved(family, now, f"#{number}")
        counted += calls >= warm_up
        calls += sum(len(program.calls) for program in family)
        if rng.random() < 1 / workload.burst:
            now += rng.expovariate(1.0) * workload.burst / rate
    return programs


def warm(programs: Sequence[Program], warm_up: int) -> frozenset[str]:
    """The roots that arrive before so many calls have: they fill memories and statistics, and do not count."""
    found, calls = [], 0
    for family in families(programs):
        if calls < warm_up:
            found.append(family[0].id)
        calls += sum(len(program.calls) for program in family)
    return frozenset(found)


def origin(program: str) -> str:
    """The program of the pool that one is a copy of."""
    return program.rpartition("#")[0]


def alone_times(families: Sequence[Family], engines: tuple[EngineModel, ...]) -> Mapping[str, Seconds]:
    """Completion of each program of a pool with the fleet to its family."""
    return completions_alone(chain.from_iterable(families), Setting(engines, rules=RULES))
