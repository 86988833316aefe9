"""Policies compared on common random numbers: the same programs, arrivals, bytes and delays under each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

from scheduler.brain import IDLE_TIMEOUT
from scheduler.policy import PRESETS, PolicyConfig
from scheduler.types import Seconds
from simulator.client import ClientRules
from simulator.fleet import EngineModel
from simulator.intervals import Ratio, paired_ratio
from simulator.ledger import Detail
from simulator.network import Network
from simulator.result import Simulation
from simulator.summary import Figure, Summary, summarise
from simulator.trace import Draw, Trace, families
from simulator.world import NETWORK, RULES, OnProgram, simulate
from workloads.program import Program


@dataclass(frozen=True, slots=True)
class Comparison:
    """The simulations of several policies, each with every seed. The first policy is what the others stand against."""

    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    simulations: tuple[Simulation, ...]
    """Policy by policy, and each in the order of the seeds."""
    summaries: Mapping[str, tuple[Summary, ...]]
    """By policy, in the order of the seeds."""

    def mean(self, figure: Figure, policy: str) -> float | None:
        """A figure's mean over the seeds."""
        return figure.mean(self.summaries[policy])

    def ratio(self, figure: Figure, policy: str) -> Ratio | None:
        """A figure against the first policy's, paired by seed. None where one of them is 0 or missing."""
        values = [figure.of(summary) or 0.0 for summary in self.summaries[policy]]
        bases = [figure.of(summary) or 0.0 for summary in self.summaries[self.policies[0]]]
        return paired_ratio(values, bases)


@dataclass(frozen=True, slots=True)
class Setting:
    """What all simulations of a comparison have in common.

    `rate` redraws the arrivals as a Poisson process of so many programs per second; None keeps the recorded ones.
    `gaps` redraws the times of tools, and `resample` the programs, both by each simulation's seed.
    """

    fleet: tuple[EngineModel, ...]
    rate: float | None = None
    network: Network = NETWORK
    rules: ClientRules = RULES
    gaps: bool = False
    resample: bool = False
    idle_timeout: Seconds = IDLE_TIMEOUT
    """How long a program is silent before the scheduler takes it for ended."""

    @property
    def draw(self) -> Draw:
        """What a seed draws anew."""
        return Draw(self.rate, self.gaps, self.resample)


def compare(
    trace: Trace,
    setting: Setting,
    policies: Sequence[PolicyConfig],
    seeds: Sequence[int],
    *,
    detail: Detail | None = None,
    log: TextIO | None = None,
    alone: bool = True,
    on_program: OnProgram | None = None,
) -> Comparison:
    """Replays the trace under each policy with each seed.

    Args:
        trace: the programs.
        setting: where and how they run.
        policies: with different names.
        seeds: of what the setting draws anew, of bytes a token, delays, and the policies' own choices.
        detail: kept in the simulations of the first seed; the figures need none.
        log: gets the event log of the first policy's simulation with the first seed.
        alone: also runs each family of programs alone, for slowdowns; once, or where seeds change programs, with each.
        on_program: called when a program has ended.

    Raises:
        SimulationError, WorkloadError, PolicyError: as `simulate`.
    """
    alone_times = _alone(trace, setting, seeds, on_program) if alone else {}
    simulations: list[Simulation] = []
    for policy in policies:
        for seed in seeds:
            programs = trace.drawn(setting.draw, seed)
            kept = detail if seed == seeds[0] else None
            told = log if (policy, seed) == (policies[0], seeds[0]) else None
            simulation = run(programs, setting, policy, seed, kept, on_program, told)
            simulations.append(replace(simulation, alone=alone_times.get(seed, {})))
    summaries = {
        policy.name: tuple(summarise(simulation) for simulation in simulations if simulation.policy == policy.name)
        for policy in policies
    }
    names = tuple(policy.name for policy in policies)
    return Comparison(names, tuple(seeds), tuple(simulations), summaries)


def replays(setting: Setting, policies: int, seeds: int, *, alone: bool = True) -> int:
    """How often `compare` replays the trace, those with every program alone among them."""
    return policies * seeds + alone * (seeds if setting.draw.changes_programs else 1)


def completions_alone(
    programs: Iterable[Program], setting: Setting, on_program: OnProgram | None = None
) -> Mapping[str, Seconds]:
    """Each program's completion time when nobody but its family uses the fleet, under the preset `vllm`."""
    times: dict[str, Seconds] = {}
    for family in families(programs):
        simulation = run(family, setting, PRESETS["vllm"], 0, None, on_program)
        times.update((program.program, program.completion) for program in simulation.programs)
    return times


def run(
    programs: Iterable[Program],
    setting: Setting,
    policy: PolicyConfig,
    seed: int,
    detail: Detail | None = None,
    on_program: OnProgram | None = None,
    log: TextIO | None = None,
) -> Simulation:
    """One simulation of programs that are as they are to be.

    Raises:
        SimulationError, WorkloadError, PolicyError: as `simulate`.
    """
    return simulate(
        programs,
        setting.fleet,
        policy,
        seed=seed,
        network=setting.network,
        rules=setting.rules,
        idle_timeout=setting.idle_timeout,
        detail=detail,
        log=log,
        on_program=on_program,
    )


def _alone(
    trace: Trace, setting: Setting, seeds: Sequence[int], on_program: OnProgram | None
) -> Mapping[int, Mapping[str, Seconds]]:
    """The completion times of programs alone, by seed."""
    if not setting.draw.changes_programs:
        times = completions_alone(trace, setting, on_program)
        return dict.fromkeys(seeds, times)
    draw = replace(setting.draw, rate=None)
    return {seed: completions_alone(trace.drawn(draw, seed), setting, on_program) for seed in seeds}
