"""Which setting to try next: Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import Trial, TrialState, create_trial

from simulator.tune.space import Knob, Parameter, Scale, rounded


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A setting to try."""

    trial: Trial
    values: Mapping[Parameter, float]


class Sampler:
    """Proposes settings, and learns from what became of them."""

    def __init__(self, knobs: Sequence[Knob], seed: int) -> None:
        """Knows of one setting: the default, whose gain is 0."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._knobs = knobs
        self._space: dict[str, BaseDistribution] = {
            str(knob.parameter): FloatDistribution(knob.range.low, knob.range.high, log=knob.range.scale is Scale.LOG)
            for knob in knobs
        }
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        defaults = {str(knob.parameter): knob.range.clip(knob.default) for knob in knobs}
        self._study.add_trial(create_trial(value=0.0, params=defaults, distributions=self._space))

    def ask(self) -> Suggestion:
        """The next setting."""
        trial = self._study.ask(self._space)
        values = {knob.parameter: rounded(trial.params[str(knob.parameter)]) for knob in self._knobs}
        return Suggestion(trial, values)

    def tell(self, suggestion: Suggestion, gain: float, seeds: int, *, dropped: bool) -> None:
        """A setting's mean gain over the default on so many seeds; it was dropped if those were not all of them."""
        if dropped:
            suggestion.trial.report(gain, seeds)
            self._study.tell(suggestion.trial, state=TrialState.PRUNED)
        else:
            self._study.tell(suggestion.trial, gain)
