"""The search: rounds of settings that race each other over common seeds, and a winner that proves itself on fresh ones.

Successive halving (Jamieson and Talwalkar, AISTATS 2016): the settings of a round are simulated with a few seeds, the
better half of them with twice as many, and so on. One that is clearly worse than the best so far is dropped whatever
its place. Every comparison is between simulations of the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from scheduler.policy import PolicyConfig
from simulator.tune.bench import Job
from simulator.tune.gain import Gain, paired_gain
from simulator.tune.outcome import OnTrial, Outcome, Trial
from simulator.tune.plan import Plan
from simulator.tune.sampler import Sampler, Suggestion
from simulator.tune.space import Knob, Parameter, with_values
from simulator.tune.workers import Run

ROUND = 8
"""Settings that race each other. Not the number of cores, so that a search gives the same on every machine."""
CLEARLY = 0.8
"""Confidence of the interval by which a setting is clearly worse than the best so far."""
PATIENCE = 3
"""Rounds without a better setting after which a search stops, if the best is better than the default for certain."""


@dataclass(slots=True, eq=False)
class _Runner:
    """A setting in a race. `losses` are in the order of the seeds."""

    number: int
    policy: PolicyConfig
    values: Mapping[Parameter, float]
    losses: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return fmean(self.losses)

    def gain_over(self, other: _Runner, confidence: float) -> Gain:
        return paired_gain(other.losses[: len(self.losses)], self.losses, confidence)


class Search:
    """One search. The same arguments give the same outcome, wherever `run` runs its simulations."""

    def __init__(
        self, policy: PolicyConfig, knobs: Sequence[Knob], plan: Plan, run: Run, on_trial: OnTrial | None = None
    ) -> None:
        self._policy = policy
        self._plan = plan
        self._run = run
        self._on_trial = on_trial
        self._sampler = Sampler(knobs, plan.seed)
        self._default = self._best = _Runner(0, policy, {})
        self._trials: list[Trial] = []
        self._simulations = 0
        self._idle_rounds = 0

    def outcome(self) -> Outcome:
        """Searches.

        Raises:
            SimulationError, PolicyError, WorkersError: as the simulations do.
        """
        self._advance([self._default], self._plan.seeds)
        self._note(self._default, dropped=False)
        while len(self._trials) < self._plan.budget and not self._settled:
            self._round(min(ROUND, self._plan.budget - len(self._trials)))
        gain = self._proven()
        return Outcome(
            default=self._policy,
            best=self._best.policy,
            values=self._best.values,
            gain=gain,
            fresh=len(self._plan.fresh),
            trials=tuple(self._trials),
            simulations=self._simulations,
            separated=self._settled,
        )

    @property
    def _settled(self) -> bool:
        """The best is better than the default for certain, and does not get better any more."""
        return self._idle_rounds >= PATIENCE and _gain(self._best, self._default).low > 0

    def _round(self, size: int) -> None:
        suggestions: dict[int, Suggestion] = {}
        racing: list[_Runner] = []
        for number in range(len(self._trials), len(self._trials) + size):
            suggestion = suggestions[number] = self._sampler.ask()
            racing.append(_Runner(number, with_values(self._policy, suggestion.values), suggestion.values))
        for runner, dropped in self._race(racing):
            gain = self._note(runner, dropped=dropped)
            self._sampler.tell(suggestions[runner.number], gain.value, len(runner.losses), dropped=dropped)

    def _race(self, racing: list[_Runner]) -> Iterator[tuple[_Runner, bool]]:
        """Yields each setting when it leaves the race, and whether it was dropped."""
        former = self._best
        most = len(racing)
        for seeds in self._plan.stretches:
            self._advance(racing, seeds)
            if seeds < self._plan.seeds:
                most = (most + 1) // 2
                staying = self._staying(racing, most)
                yield from ((runner, True) for runner in racing if runner not in staying)
                racing = staying
        for runner in racing:
            if runner.mean < self._best.mean:
                self._best = runner
            yield runner, False
        self._idle_rounds = 0 if self._best is not former else self._idle_rounds + 1

    def _staying(self, racing: Sequence[_Runner], most: int) -> list[_Runner]:
        """The best of those that are not clearly worse than the best setting so far."""
        hopeful = [runner for runner in racing if runner.gain_over(self._best, CLEARLY).high >= 0]
        return sorted(hopeful, key=_mean)[:most]

    def _advance(self, racing: Sequence[_Runner], seeds: int) -> None:
        """Runs each setting's simulations up to that many seeds."""
        pending = [(runner, seed) for runner in racing for seed in self._plan.searched[len(runner.losses) : seeds]]
        losses = self._run([Job(runner.policy, seed) for runner, seed in pending])
        for (runner, _), loss in zip(pending, losses, strict=True):
            runner.losses.append(loss)
        self._simulations += len(pending)

    def _note(self, runner: _Runner, *, dropped: bool) -> Gain:
        gain = _gain(runner, self._default)
        trial = Trial(runner.number, runner.values, gain, len(runner.losses), dropped)
        self._trials.append(trial)
        if self._on_trial is not None:
            self._on_trial(trial)
        return gain

    def _proven(self) -> Gain:
        """The winner's gain on fresh seeds: of many settings, the one that looked best owes some of it to luck."""
        if self._best is self._default:
            return Gain()
        seeds = self._plan.fresh
        jobs = [Job(runner.policy, seed) for runner in (self._default, self._best) for seed in seeds]
        losses = list(self._run(jobs))
        self._simulations += len(jobs)
        return paired_gain(losses[: len(seeds)], losses[len(seeds) :])


def _gain(runner: _Runner, base: _Runner) -> Gain:
    return paired_gain(base.losses[: len(runner.losses)], runner.losses)


def _mean(runner: _Runner) -> float:
    return runner.mean
