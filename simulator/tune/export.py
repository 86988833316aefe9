"""A search as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TypeAlias

from simulator.tune.objective import Objective
from simulator.tune.outcome import Outcome, Trial
from simulator.tune.space import Parameter

FORMAT = "agentserve-tuning/1"

Plain: TypeAlias = dict[str, object]


def document(outcome: Outcome, objective: Objective, command: str = "") -> Plain:
    """The outcome with every trial. Gains are differences of logarithms; of `slo@X`, of shares."""
    return {
        "format": FORMAT,
        "command": command,
        "objective": str(objective),
        "policy": outcome.default.name,
        "improved": outcome.improved,
        "separated": outcome.separated,
        "simulations": outcome.simulations,
        "values": _named(outcome.values),
        "gain": asdict(outcome.gain),
        "fresh_seeds": outcome.fresh,
        "trials": [_trial(trial) for trial in outcome.trials],
    }


def _trial(trial: Trial) -> Plain:
    return {
        "number": trial.number,
        "values": _named(trial.values),
        "gain": asdict(trial.gain),
        "seeds": trial.seeds,
        "dropped": trial.dropped,
    }


def _named(values: Mapping[Parameter, float]) -> dict[str, float]:
    return {str(parameter): value for parameter, value in values.items()}
