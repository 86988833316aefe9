"""Continuum's rule against its definition, and against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.learned import TurnCorrelation
from scheduler.policy import PRESETS
from scheduler.retention.continuum import best_ttl
from scheduler.types import EngineId
from tests.scheduler.world import World, key

TIMES = st.floats(0.001, 100, allow_nan=False)


@given(st.lists(TIMES, min_size=1, max_size=40), st.floats(-5, 200))
def test_the_time_to_live_is_the_argmax_of_its_definition(samples: list[float], benefit: float) -> None:
    samples.sort()

    def gain(tau: float) -> float:
        return sum(sample <= tau for sample in samples) / len(samples) * benefit - tau

    best = max([0.0, *samples], key=lambda tau: (gain(tau), -tau))
    chosen = best_ttl(samples, benefit)
    assert gain(chosen) == pytest.approx(max(gain(best), 0.0), abs=1e-9)


def test_of_equal_gains_the_smallest_time_wins() -> None:
    assert best_ttl([1.0, 2.0], 2.0) == 0.0, "0 gains 0, and so do 1 s (half of 2, minus 1) and 2 s"


def test_a_mixture_of_short_and_long_gaps_pins_for_the_short_ones() -> None:
    assert best_ttl([0.5] * 6 + [60.0] * 4, 10.0) == 0.5


def test_nothing_is_pinned_for_less_than_it_costs() -> None:
    assert best_ttl([5.0, 6.0], 4.0) == 0.0


@pytest.mark.parametrize(("lengths", "eta"), [([], 1.0), ([1], 1.0), ([5, 5, 5], 1.0), ([4], 1.0)])
def test_eta_is_one_for_equal_programs_and_while_it_is_undefined(lengths: list[int], eta: float) -> None:
    turns = TurnCorrelation()
    for length in lengths:
        turns.add_program(length)
    assert turns.eta == pytest.approx(eta)


def test_eta_agrees_with_the_correlation_of_all_pairs() -> None:
    lengths = [2, 7, 4, 11]
    turns = TurnCorrelation()
    for length in lengths:
        turns.add_program(length)
    pairs = [(k, length - k) for length in lengths for k in range(length)]
    n = len(pairs)
    mx, my = sum(x for x, _ in pairs) / n, sum(y for _, y in pairs) / n
    covariance = sum((x - mx) * (y - my) for x, y in pairs)
    spread = math.sqrt(sum((x - mx) ** 2 for x, _ in pairs) * sum((y - my) ** 2 for _, y in pairs))
    assert turns.eta == pytest.approx(-covariance / spread)


def test_a_cold_start_pins_by_the_logarithm_of_what_a_pin_saves() -> None:
    world = World(PRESETS["continuum"])
    world.brain.learned.prefill_rate(EngineId("a"), 100.0).value = 100.0
    call = world.call("p", tokens=1000)
    world.finish(call, prompt=1000, output=100)
    program = world.brain.programs[key("p")]
    assert program.pin_until - world.now == pytest.approx(math.log(1100 / 100)), "T is 0 yet, PR is 11 s"


def test_a_cold_start_pins_nothing_that_is_quickly_prefilled() -> None:
    world = World(PRESETS["continuum"])
    call = world.call("p")
    world.finish(call)
    assert world.brain.programs[key("p")].pin_until == 0.0, "550 tokens at 2,000 a second are less than 1 s"


def test_with_enough_samples_of_a_tool_its_own_gaps_decide() -> None:
    world = World(PRESETS["continuum"])
    gaps = world.brain.learned.gaps
    for _ in range(101):
        gaps.observe("default", ("bash",), 0.1)
        gaps.observe("default", ("sleep",), 30.0)
    world.brain.learned.prefill_rate(EngineId("a"), 100.0).value = 100.0
    for program, tool, ttl in (("p", "bash", 0.1), ("q", "sleep", 0.0)):
        call = world.call(program, tokens=500)
        world.finish(call, prompt=500, output=50, tool=tool)
        assert max(0.0, world.brain.programs[key(program)].pin_until - world.now) == pytest.approx(ttl)
