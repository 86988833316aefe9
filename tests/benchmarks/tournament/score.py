"""One replay of a cell under one policy, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from scheduler.events import PinOutcome
from scheduler.policy import PolicyConfig
from scheduler.types import Seconds
from simulator.client import ClientRules
from simulator.fleet import EngineModel
from simulator.result import ProgramResult, Simulation
from simulator.tune.resample import Family
from simulator.world import simulate
from tests.benchmarks.drawing import Workload, draw, origin, warm
from workloads.program import Program
from workloads.records import percentile

WARM_UP = 200
"""Calls an engine before programs count: some rivals do nothing for their first hundred samples."""
TENANTS = 5
TOLD = ClientRules(announce_end=True, exact_lengths=True, foretell=True)
"""They say all that is to come."""


@dataclass(frozen=True, slots=True)
class Score:
    """Figures of the programs that count; seconds, tokens, and slowdowns against the same program alone."""

    mean: Seconds
    p50: Seconds
    p95: Seconds
    p99: Seconds
    max: Seconds
    slowdown: float
    slowdown_p95: float
    slowdown_p99: float
    slowdown_max: float
    first_ttft: Seconds
    first_ttft_p99: Seconds
    later_ttft: Seconds
    later_ttft_p99: Seconds
    later_ttft_max: Seconds
    jain: float
    """Jain's index of the tenants' mean slowdowns: 1 if all fare alike. A mix has a tenant for each kind of program;
    other workloads have five, whose programs come in turn."""
    programs_per_s: float
    cached_share: float
    preemptions: int
    pins_broken: int
    recomputed: int
    """Prompt tokens that were prefilled though the program had had them before, or another of its prefix."""
    calls: int
    wall: Seconds
    """What the replay took in reality."""


def play(
    workload: Workload,
    families: Sequence[Family],
    engines: tuple[EngineModel, ...],
    policy: PolicyConfig,
    rate: float,
    seed: int,
    alone: Mapping[str, Seconds],
    rules: ClientRules | None = None,
) -> Score:
    """Replays one seed's programs at `rate` programs a second. Without `rules` clients behave as the workload's do."""
    warm_up = WARM_UP * len(engines)
    programs = draw(workload, families, rate, seed, warm_up)
    simulation = simulate(programs, engines, policy, seed=seed, rules=rules or workload.rules)
    return score(simulation, programs, warm(programs, warm_up), alone)


def score(
    simulation: Simulation, programs: Sequence[Program], left_out: frozenset[str], alone: Mapping[str, Seconds]
) -> Score:
    """The figures of a simulation, without the programs that only warm it up."""
    counted = [p for p in simulation.programs if p.parent is None and p.program not in left_out]
    times = [program.completion for program in counted]
    slowdowns = [program.completion / alone[origin(program.program)] for program in counted]
    first, later = simulation.waits.first_ttft, simulation.waits.later_ttft or [0.0]
    prompt = sum(program.prompt for program in simulation.programs)
    cached = sum(program.cached for program in simulation.programs)
    new = sum(sum(call.new_tokens for call in program.calls) for program in programs)
    begin = min(program.arrival for program in counted)
    return Score(
        mean=fmean(times),
        p50=percentile(times, 0.5),
        p95=percentile(times, 0.95),
        p99=percentile(times, 0.99),
        max=max(times),
        slowdown=fmean(slowdowns),
        slowdown_p95=percentile(slowdowns, 0.95),
        slowdown_p99=percentile(slowdowns, 0.99),
        slowdown_max=max(slowdowns),
        first_ttft=fmean(first),
        first_ttft_p99=percentile(first, 0.99),
        later_ttft=fmean(later),
        later_ttft_p99=percentile(later, 0.99),
        later_ttft_max=max(later),
        jain=jain([fmean(times) for times in tenants(counted, slowdowns).values()]),
        programs_per_s=len(counted) / (max(program.finished for program in counted) - begin),
        cached_share=cached / prompt,
        preemptions=simulation.preemptions,
        pins_broken=simulation.pins[PinOutcome.BROKEN],
        recomputed=max(0, prompt - cached - new),
        calls=sum(program.calls for program in simulation.programs),
        wall=simulation.cost.wall,
    )


def tenants(counted: Sequence[ProgramResult], slowdowns: Sequence[float]) -> Mapping[str, list[float]]:
    """The slowdowns of each tenant's programs."""
    kinds = {program.workflow for program in counted}
    found: dict[str, list[float]] = {}
    for program, slowdown in zip(counted, slowdowns, strict=True):
        number = int(program.program.rpartition("#")[2])
        found.setdefault(program.workflow if len(kinds) > 1 else str(number % TENANTS), []).append(slowdown)
    return found


def jain(values: Sequence[float]) -> float:
    """Jain, Chiu and Hawe's index (1984): (sum x)^2 / (n * sum x^2)."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))
