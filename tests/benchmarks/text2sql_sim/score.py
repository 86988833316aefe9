"""What came of one replay, and the load that is still sustained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean

from scheduler.types import Seconds
from simulator.result import Simulation
from tests.benchmarks.drawing import origin
from tests.benchmarks.text2sql_sim.grid import LEVELS
from workloads.records import percentile

GOAL = 0.95
"""The share of queries that have to be in time, for a load to be sustained."""
PRECISION = 1.2
"""How far apart two loads may be between which the sustained one is interpolated."""
LEAST = 0.02
"""Who does not sustain this load sustains none."""
MOST = 8.0
STEP = 1.4
"""From the highest level on, or from the lowest down, until there are loads on both sides."""


@dataclass(frozen=True, slots=True)
class Score:
    """Figures of the queries that count. A query that never ended is infinitely late, and its latency is infinite."""

    attained: float
    """The share of queries that took no longer than their objective."""
    mean: Seconds
    p50: Seconds
    p95: Seconds
    p99: Seconds
    slowdown_p95: float
    cached_share: float
    preemptions: int
    cpu: Seconds
    """What the replay took of one core."""

    def rounded(self) -> dict[str, float | None]:
        """As JSON keeps it: four digits, and null for what is infinite."""
        return {
            name: value if isinstance(value, int) else float(f"{value:.4g}") if math.isfinite(value) else None
            for name, value in asdict(self).items()
        }


def score(
    simulation: Simulation,
    counted: Mapping[str, Seconds],
    alone: Mapping[str, Seconds],
    cpu: Seconds,
) -> Score:
    """The figures of a simulation.

    Args:
        simulation: what came of it.
        counted: the objective of each query that counts.
        alone: the completion of each query of the pool with the fleet to itself.
        cpu: what it took.
    """
    took = {program.program: program.completion for program in simulation.programs}
    times = [took.get(name, math.inf) for name in counted]
    prompt = sum(program.prompt for program in simulation.programs)
    return Score(
        attained=fmean(took.get(name, math.inf) <= objective for name, objective in counted.items()),
        mean=fmean(times),
        p50=percentile(times, 0.5),
        p95=percentile(times, 0.95),
        p99=percentile(times, 0.99),
        slowdown_p95=percentile([took.get(name, math.inf) / alone[origin(name)] for name in counted], 0.95),
        cached_share=sum(program.cached for program in simulation.programs) / max(prompt, 1),
        preemptions=simulation.preemptions,
        cpu=cpu,
    )


def next_level(attained: Mapping[float, float]) -> float | None:
    """The load to be played next, of one whose attainment at some loads is known; None when enough is.

    First the common levels, then beyond them until the goal is met at one load and missed at another, then halfway
    between the two until they are no further apart than `PRECISION`.
    """
    for level in LEVELS:
        if level not in attained:
            return level
    low, high = bracket(attained)
    if low is None:
        lower = round(min(attained) / STEP, 4)
        return lower if lower >= LEAST else None
    if high is None:
        higher = round(max(attained) * STEP, 4)
        return higher if higher <= MOST else None
    return round(math.sqrt(low * high), 4) if high / low > PRECISION else None


def bracket(attained: Mapping[float, float]) -> tuple[float | None, float | None]:
    """The lowest load that misses the goal, and the highest one below it; None where there is none."""
    missed = min((level for level, share in attained.items() if share < GOAL), default=None)
    met = [level for level in attained if missed is None or level < missed]
    return max(met, default=None), missed


def sustained(attained: Mapping[float, float]) -> float:
    """The highest load at which the goal is met, in the unit of the levels.

    Between the two loads that enclose it, attainment is taken to fall evenly with the logarithm of the load.
    """
    low, high = bracket(attained)
    if low is None:
        return LEAST
    if high is None:
        return low
    share = (attained[low] - GOAL) / (attained[low] - attained[high])
    return low * math.pow(high / low, share)
