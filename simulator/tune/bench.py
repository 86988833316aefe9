"""What a setting is judged on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from scheduler.policy import PolicyConfig
from simulator.compare import Setting, run
from simulator.trace import Trace
from simulator.tune.objective import Objective
from simulator.tune.resample import Family, resampled
from workloads.arrivals import poisson_arrivals
from workloads.program import Program
from workloads.redraw import redraw_gaps


class Job(NamedTuple):
    """One simulation to be run."""

    policy: PolicyConfig
    seed: int


@dataclass(frozen=True, slots=True)
class Bench:
    """The traffic, the fleet and the objective of a search. The same seed is the same traffic for every policy.

    Whatever the setting redraws, each seed draws its programs from all of the recorded ones.
    """

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
        return self.objective.loss(run(list(self._traffic(job.seed)), self.setting, job.policy, job.seed))

    def _traffic(self, seed: int) -> Iterable[Program]:
        setting = self.setting
        programs: Iterable[Program] = resampled(self.families, seed)
        if setting.gaps:
            programs = (redraw_gaps(program, seed) for program in programs)
        return programs if setting.rate is None else poisson_arrivals(programs, setting.rate, seed)
