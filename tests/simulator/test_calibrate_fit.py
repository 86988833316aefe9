from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.calibrate import nnls
from simulator.calibrate.fit import FitFailedError, fit
from simulator.calibrate.observation import Observation, Regime, prefill_step, prefill_steps
from simulator.profile import CPU_SMOLLM2, StepProfile, StepWork

BUDGET = 2048
OVERHEAD = 0.004
GPU = StepProfile(
    "gpu", "test", constant=0.002, prefill_attention=1e-9, decode_context=2e-8, token=5e-5, token_floor=128
)


def timed(profile: StepProfile, noise: float = 0.0, repetitions: int = 1) -> list[Observation]:
    """What timing an engine with that profile would give."""
    found = []
    for prompt in (16, 64, 256, 512, 1024, 3000):
        found.append(Observation(Regime.PREFILL, (prompt,), prefill_steps(prompt, 0, BUDGET), 1.0, True))
        cached = (prompt - 1) // 16 * 16
        found.append(Observation(Regime.CACHED, (prompt,), prefill_steps(prompt, cached, BUDGET), 1.0, True))
    for batch in (1, 2, 4, 8, 16, 64, 256):
        for context in (64, 1500):
            work = StepWork(decode_batch=batch, decode_context=batch * context)
            found.append(Observation(Regime.DECODE, (batch, context), (work,), 1.0))
        found.append(Observation(Regime.MIXED, (batch, 300), (prefill_step(0, 300, batch, batch * 400),), 1.0))
    rng = Random(1)
    return [
        replace(item, seconds=_seconds(profile, item) * rng.lognormvariate(0, noise))
        for item in found
        for _ in range(repetitions)
    ]


def _seconds(profile: StepProfile, item: Observation) -> float:
    return sum(map(profile.seconds, item.steps)) + OVERHEAD * item.whole_request


def test_a_linear_engine_is_recovered_exactly_and_without_a_floor() -> None:
    found = fit(timed(CPU_SMOLLM2), "p", "test")
    assert found.profile.token_floor == 0
    for name in ("constant", "prefill_token", "prefill_attention", "decode_request", "decode_context"):
        assert getattr(found.profile, name) == pytest.approx(getattr(CPU_SMOLLM2, name), rel=1e-6)
    assert found.request_overhead == pytest.approx(OVERHEAD)
    assert {regime: error.count for regime, error in found.errors.items()} == {
        "prefill": 6,
        "cached": 6,
        "decode": 14,
        "mixed": 7,
    }


def test_a_roofline_is_recovered_with_its_floor() -> None:
    found = fit(timed(GPU), "p", "test")
    assert found.profile.token_floor == 128
    assert found.profile.token == pytest.approx(GPU.token, rel=1e-3)
    assert max(error.p90 for error in found.errors.values()) < 1e-3


def test_noise_of_single_timings_is_told_and_mostly_cancelled() -> None:
    found = fit(timed(CPU_SMOLLM2, noise=0.05, repetitions=9), "p", "test")
    assert 0.02 < found.errors["decode"].median < 0.05
    assert found.errors["decode"].median < found.errors["decode"].p90
    batch = StepWork(decode_batch=8, decode_context=8 * 700)
    assert found.profile.seconds(batch) == pytest.approx(CPU_SMOLLM2.seconds(batch), rel=0.03)


def test_a_step_that_a_slow_machine_stretched_tenfold_changes_little() -> None:
    observations = timed(CPU_SMOLLM2, repetitions=3)
    observations[0] = replace(observations[0], seconds=10 * observations[0].seconds)
    found = fit(observations, "p", "test")
    assert found.profile.constant == pytest.approx(CPU_SMOLLM2.constant, rel=1e-6)


@pytest.mark.parametrize("regime", [Regime.PREFILL, Regime.DECODE])
def test_too_few_points_are_refused(regime: Regime) -> None:
    observations = [item for item in timed(CPU_SMOLLM2) if item.regime is not regime]
    with pytest.raises(FitFailedError, match=f"{regime} was timed at fewer than two points"):
        fit(observations, "p", "test")


def test_a_long_prompt_is_prefilled_in_steps_of_the_budget() -> None:
    steps = prefill_steps(5000, 100, 2048)
    assert [work.prefill_tokens for work in steps] == [2048, 2048, 804]
    assert sum(work.prefill_attention for work in steps) == sum(range(101, 5001))


def test_least_squares_finds_the_exact_solution_where_it_is_positive() -> None:
    rows = [[1.0, 2.0], [1.0, 0.0], [0.0, 1.0]]
    assert nnls.solve(rows, [8.0, 2.0, 3.0]) == pytest.approx([2.0, 3.0])


def test_a_coefficient_that_would_be_negative_is_zero_and_the_rest_is_fitted_without_it() -> None:
    rows = [[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]
    assert nnls.solve(rows, [3.0, 2.0, 1.0]) == pytest.approx([2.0, 0.0])


def test_columns_that_repeat_or_are_empty_do_no_harm() -> None:
    rows = [[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]
    first, second, empty = nnls.solve(rows, [2.0, 4.0])
    assert first + 2 * second == pytest.approx(2.0)
    assert empty == 0


def test_rows_without_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="1 rows and 0 targets"):
        nnls.solve([[1.0]], [])


numbers = st.floats(-3, 3).map(lambda value: round(value, 2))


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.tuples(st.lists(numbers, min_size=n, max_size=n), numbers), min_size=n, max_size=8)
    )
)
def test_no_small_step_that_stays_positive_fits_better(equations: list[tuple[list[float], float]]) -> None:
    rows, target = [row for row, _ in equations], [value for _, value in equations]
    x = nnls.solve(rows, target)

    def distance(point: list[float]) -> float:
        return sum((sum(a * b for a, b in zip(row, point, strict=True)) - y) ** 2 for row, y in equations)

    assert min(x) >= 0
    for index, value in enumerate(x):
        for step in (1e-3, -min(1e-3, value)):
            moved = [*x[:index], value + step, *x[index + 1 :]]
            assert distance(moved) >= distance(x) - 1e-6
