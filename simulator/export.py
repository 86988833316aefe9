"""A comparison as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TypeAlias

from simulator.compare import Comparison
from simulator.result import ProgramResult, Simulation
from simulator.summary import FIGURES

FORMAT = "agentserve-simulation/1"

Plain: TypeAlias = dict[str, object]


def document(comparison: Comparison, about: Mapping[str, object] | None = None) -> Plain:
    """The figures with their intervals, and every simulation with its engines and programs.

    `about` says how to make them again: the trace, the command, and what it meant when it was given.
    """
    return {
        "format": FORMAT,
        "about": dict(about or {}),
        "policies": comparison.policies,
        "seeds": comparison.seeds,
        "figures": [_figures(comparison, policy) for policy in comparison.policies],
        "simulations": [_simulation(simulation) for simulation in comparison.simulations],
    }


def _figures(comparison: Comparison, policy: str) -> Plain:
    """Means over the seeds, and ratios to the first policy's."""
    figures: Plain = {"policy": policy}
    for figure in FIGURES:
        ratio = comparison.ratio(figure, policy)
        figures[figure.name] = {
            "mean": comparison.mean(figure, policy),
            "by_seed": [figure.of(summary) for summary in comparison.summaries[policy]],
            "ratio": None if ratio is None else asdict(ratio),
        }
    return figures


def _simulation(simulation: Simulation) -> Plain:
    return {
        "policy": simulation.policy,
        "seed": simulation.seed,
        "makespan": simulation.makespan,
        "cost": asdict(simulation.cost),
        "engines": [
            {
                "name": engine.name,
                "hardware": engine.hardware,
                "modelled": engine.modelled,
                "kv_tokens": engine.kv_tokens,
                "calls": engine.calls,
                "busy": engine.busy,
                "preemptions": engine.preemptions,
                "pins": {outcome.value: count for outcome, count in engine.pins.items()},
            }
            for engine in simulation.engines
        ],
        "programs": [_program(program, simulation) for program in simulation.programs],
    }


def _program(program: ProgramResult, simulation: Simulation) -> Plain:
    completion = None if program.given_up else program.completion
    return {**asdict(program), "completion": completion, "alone": simulation.alone.get(program.program)}
