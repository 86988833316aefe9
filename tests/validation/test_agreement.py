"""When the simulator agrees with the engine, and when it orders policies as the engine does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentserve.validation.agreement import Verdict, ranking, verdicts
from agentserve.validation.outcome import Outcome
from agentserve.validation.table import HEAD, RANKING_HEAD, pair_cells, verdict_cells
from tests.validation.sides import USUAL, slower


def of(found: list[Verdict], name: str) -> Verdict:
    return next(verdict for verdict in found if verdict.figure.name == name)


def test_a_simulation_that_says_the_same_is_within_every_bound() -> None:
    found = verdicts([USUAL, USUAL], [USUAL, USUAL])
    assert {verdict.figure.name for verdict in found} == {
        "mean_completion",
        "p95_completion",
        "mean_ttft",
        "cached_share",
        "makespan",
    }
    assert all(verdict.within and verdict.difference == 0 for verdict in found)


@pytest.mark.parametrize(
    ("name", "within", "outside"),
    [("mean_completion", 20.9, 21.1), ("p95_completion", 28.6, 28.4), ("mean_ttft", 1.09, 1.11)],
)
def test_each_figure_keeps_its_own_bound(name: str, within: float, outside: float) -> None:
    for value, expected in ((within, True), (outside, False)):
        simulated = replace(USUAL, **{name: value})
        assert of(verdicts([USUAL] * 3, [simulated] * 3), name).within is expected


def test_a_cached_share_is_told_in_points() -> None:
    verdict = of(verdicts([USUAL], [replace(USUAL, cached_share=0.73)]), "cached_share")
    assert not verdict.within
    assert verdict.error == "+3.0 points"
    assert of(verdicts([USUAL], [slower(1.02)]), "mean_completion").error == "+2.0%"


def test_scattered_repetitions_excuse_only_where_they_are_of_the_same_programs() -> None:
    scattered = [slower(factor) for factor in (0.93, 1.0, 1.07)]
    simulated = [slower(1.07)] * 3
    assert of(verdicts(scattered, simulated), "mean_completion").within
    assert not of(verdicts(scattered, simulated, repeated=False), "mean_completion").within


def test_strictness_widens_all_bounds() -> None:
    assert not of(verdicts([USUAL], [slower(1.09)]), "mean_completion").within
    assert of(verdicts([USUAL], [slower(1.09)], strictness=2.0), "mean_completion").within


def runs(*factors: float) -> list[Outcome]:
    return [slower(factor * wobble) for factor in factors for wobble in (0.99, 1.0, 1.01)]


def test_the_order_counts_where_the_engine_tells_policies_apart() -> None:
    real = {"vllm": runs(1.3), "continuum": runs(1.28), "agentserve": runs(1.0)}
    same = {"vllm": runs(1.2), "continuum": runs(1.25), "agentserve": runs(1.1)}
    pairs = ranking(real, same)
    assert {(pair.first, pair.second) for pair in pairs if pair.separated} == {
        ("vllm", "agentserve"),
        ("continuum", "agentserve"),
    }
    assert all(pair.agrees for pair in pairs), "vllm and continuum are too close to be ordered"
    other = {**same, "agentserve": runs(1.22)}
    assert [pair.second for pair in ranking(real, other) if not pair.agrees] == ["agentserve"] * 2


def test_rows_have_a_cell_for_each_heading() -> None:
    verdict = of(verdicts([USUAL, slower(1.1)], [slower(2.0)] * 2), "mean_completion")
    cells = verdict_cells(verdict)
    assert len(cells) == len(HEAD)
    assert cells[-1] == "OUTSIDE"
    assert " ± " in cells[1]
    (pair, *_) = ranking({"a": runs(1.5), "b": runs(1.0)}, {"a": runs(1.0), "b": runs(1.5)})
    cells = pair_cells(pair)
    assert len(cells) == len(RANKING_HEAD)
    assert cells[0] == "a / b"
    assert cells[-1] == "NO"
