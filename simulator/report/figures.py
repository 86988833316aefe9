"""The table of a comparison: each preset's figures, and how they stand against the first one's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from simulator.compare import Comparison
from simulator.intervals import Ratio
from simulator.report.document import note, table
from simulator.result import Simulation
from simulator.summary import FIGURES, Figure, summarise


def figures(simulations: Sequence[Simulation]) -> Iterator[str]:
    """The table as HTML, without figures that no preset has, and what its ratios mean."""
    comparison = _comparison(simulations)
    lines = [
        [escape(figure.title), *(_cell(comparison, figure, policy) for policy in comparison.policies)]
        for figure in FIGURES
        if any(comparison.mean(figure, policy) is not None for policy in comparison.policies)
    ]
    yield table(["", *map(escape, comparison.policies)], lines)
    if len(comparison.policies) > 1:
        yield note(_explanation(comparison))


def _comparison(simulations: Sequence[Simulation]) -> Comparison:
    policies = tuple(dict.fromkeys(simulation.policy for simulation in simulations))
    seeds = tuple(dict.fromkeys(simulation.seed for simulation in simulations))
    summaries = {
        policy: tuple(summarise(simulation) for simulation in simulations if simulation.policy == policy)
        for policy in policies
    }
    return Comparison(policies, seeds, tuple(simulations), summaries)


def _cell(comparison: Comparison, figure: Figure, policy: str) -> str:
    text = escape(figure.write(comparison.mean(figure, policy)))
    ratio = comparison.ratio(figure, policy) if policy != comparison.policies[0] else None
    return text if ratio is None else f"{text}<small>{_ratio(ratio)}</small>"


def _ratio(ratio: Ratio) -> str:
    if ratio.low is None or ratio.high is None:
        return f"× {ratio.value:.2f}"
    text = f"× {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"<b>{text}</b>" if ratio.separated else text


def _explanation(comparison: Comparison) -> str:
    base, count = comparison.policies[0], len(comparison.seeds)
    if count == 1:
        return f"Below the figures: how many times that of {base}. One seed was simulated, so there are no intervals."
    return (
        f"Means of {count} seeds. Below them: how many times that of {base}, as the geometric mean over the seeds with "
        "its 95 % interval, paired by seed (Student's t of the logarithms); bold where the interval leaves out 1."
    )
