"""What a setting is judged on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from scheduler.policy import PolicyConfig
from simulator.compare import Setting
from simulator.trace import Trace
from simulator.tune.objective import Objective
from simulator.tune.resample import Family, resampled
from simulator.world import simulate
from workloads.arrivals import poisson
from workloads.program import Program


class Job(NamedTuple):
    """One simulation to be run."""

    policy: PolicyConfig
    seed: int


@dataclass(frozen=True, slots=True)
class Bench:
    """The traffic, the fleet and the objective of a search. The same seed is the same traffic for every policy."""

    families: tuple[Family, ...]
    setting: Setting
    objective: Objective

    @classmethod
    def of(cls, trace: Trace, setting: Setting, objective: Objective) -> Bench:
        """A bench with all programs of a trace, which are kept in memory."""
        return cls(tuple(map(tuple, trace.families())), setting, objective)

    def loss(self, job: Job) -> float:
        """Runs one simulation.

        Raises:
            SimulationError, PolicyError: as `simulate`.
        """
        setting = self.setting
        programs: Iterable[Program] = resampled(self.families, job.seed)
        if setting.rate is not None:
            programs = poisson(programs, setting.rate, job.seed)
        simulation = simulate(
            list(programs), setting.fleet, job.policy, seed=job.seed, network=setting.network, rules=setting.rules
        )
        return self.objective.loss(simulation)
