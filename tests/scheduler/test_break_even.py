"""The time-to-live with the greatest expected gain, against its formula and by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from scheduler.policy import Choice
from scheduler.retention.break_even import BreakEven, best_ttl
from scheduler.state import EngineState, Program
from scheduler.types import UNNAMED, EngineSpec, StepCost
from scheduler.view import View
from tests.scheduler.parts import a_program, a_view, an_engine
from tests.scheduler.world import STEADY, World, key, spec
from tools.gaps import CurvePoint, GapModel

SLOW = replace(spec(100_000), max_model_len=100_000, cost=StepCost(0.0, 1e-3))
"""A thousand tokens a second."""


def exponential(mean: float) -> list[CurvePoint]:
    times = [0.1 * number for number in range(1, 1000)]
    return [CurvePoint(t, 1 - math.exp(-t / mean), mean * (1 - math.exp(-t / mean))) for t in times]


def test_memoryless_gaps_are_kept_for_good_or_not_at_all() -> None:
    assert best_ttl(exponential(5.0), 1.0, 5.1) == pytest.approx(99.9)
    assert best_ttl(exponential(5.0), 1.0, 4.9) == 0.0


def test_who_may_not_come_back_is_kept_as_long_as_the_hope_is_worth_it() -> None:
    curve, returns, even = exponential(5.0), 0.8, 20.0

    def gain(tau: float) -> float:
        share = 1 - math.exp(-tau / 5.0)
        return returns * (share * even - 5.0 * share) - (1 - returns) * tau

    most = max(gain(point.seconds) for point in curve)
    found = best_ttl(curve, returns, even)
    best = max((point.seconds for point in curve), key=gain)
    cost = returns * 5.0 * (1 - math.exp(-best / 5.0)) + (1 - returns) * best
    assert gain(found) >= most - 0.2 * cost > gain(found + 0.2)
    assert gain(found - 0.2) > gain(found), "of those that gain nearly the most it is the longest"
    assert best_ttl(curve, 0.0, even) == 0.0


def test_the_curve_is_the_distribution_and_its_truncated_mean() -> None:
    gaps, rng = GapModel(), Random(3)
    samples = [rng.expovariate(0.2) for _ in range(512)]
    for sample in samples:
        gaps.observe("t", ("bash",), sample)
    curve = gaps.curve("t", ("bash",))
    assert all(a.seconds < b.seconds and a.share <= b.share and a.mean < b.mean for a, b in pairwise(curve))
    for point in curve:
        if point.seconds < 30:
            assert point.share == pytest.approx(1 - math.exp(-point.seconds / 5), abs=0.05)
            assert point.mean == pytest.approx(5 * (1 - math.exp(-point.seconds / 5)), abs=0.5)


def resting(engine: EngineSpec) -> tuple[View, EngineState]:
    """An engine, and that all gaps after bash take 10 s and end with a return."""
    state = an_engine("a", engine)
    view = a_view(state)
    for _ in range(400):
        view.learned.gaps.observe("default", ("bash",), 10.0)
    for _ in range(200):
        view.learned.workflow("default", "").second.add(1.0)
    return view, state


def a_rest(context: int) -> Program:
    program = a_program("p")
    program.context, program.served, program.gap_tools = context, 1, ("bash",)
    return program


@pytest.mark.parametrize(("memory", "kept"), [(8_000, False), (12_000, True)])
def test_a_gap_is_kept_if_its_loss_would_cost_all_the_memory_more(memory: int, kept: bool) -> None:
    """Its prefill takes a second for each thousand tokens, for which all of the memory waits."""
    view, engine = resting(replace(SLOW, kv_tokens=memory))
    assert (BreakEven().at_finish(view, a_rest(4_000), engine) >= 10.0) == kept
    assert (BreakEven(loss=2.0).at_finish(view, a_rest(4_000), engine)) >= 10.0


@pytest.mark.parametrize(("context", "kept"), [(1_000, False), (6_000, True)])
def test_attention_makes_long_contexts_worth_more_memory_for_each_token(context: int, kept: bool) -> None:
    view, engine = resting(replace(SLOW, kv_tokens=8_000, cost=StepCost(0.0, 1e-3, prefill_attention=2e-7)))
    assert (BreakEven().at_finish(view, a_rest(context), engine) >= 10.0) == kept


@pytest.mark.parametrize(("gap", "ttl"), [(5.0, 7.5), (20.0, 0.0)])
def test_an_announced_gap_is_kept_whole_or_not_at_all(gap: float, ttl: float) -> None:
    view, engine = resting(replace(SLOW, kv_tokens=12_000))
    program = a_rest(4_000)
    program.expected_gap = gap
    assert BreakEven().at_finish(view, program, engine) == ttl


def test_what_comes_back_from_a_tier_is_not_worth_a_pin() -> None:
    view, engine = resting(replace(SLOW, kv_tokens=12_000, offload_tokens=100_000, offload_tokens_per_s=1e5))
    assert BreakEven().at_finish(view, a_rest(4_000), engine) == 0.0


def learning() -> World:
    return World(replace(STEADY, retention=Choice("break_even")), {"a": replace(SLOW, kv_tokens=12_000)})


def test_programs_that_never_come_back_reserve_nothing_after_their_answer() -> None:
    world = learning()
    for number in range(20):
        world.finish(world.call(f"single{number}", tokens=4000), prompt=4000)
        world.later(60.0)
    world.finish(world.call("another", tokens=4000), prompt=4000)
    world.later(1.0)
    assert world.occupied() == 0
    for number in range(20):
        world.finish(world.call(f"agent{number}", tokens=4000), prompt=4000)
        world.later(1.0)
        world.finish(world.call(f"agent{number}", tokens=8000, turns=2, final=True), prompt=8000)
    world.finish(world.call("yet another", tokens=4000), prompt=4000)
    assert world.brain.programs[key("yet another")].pin_until > world.now + 1.0


def test_a_first_call_that_nobody_named_is_not_trusted_as_one_of_an_agent_is() -> None:
    world = learning()
    world.finish(world.call("p", tokens=4000, workflow=UNNAMED), prompt=4000)
    unnamed = world.brain.programs[key("p")].pin_until
    world.end("p")
    world.finish(world.call("q", tokens=4000), prompt=4000)
    assert unnamed < world.brain.programs[key("q")].pin_until


def test_programs_that_begin_each_prompt_afresh_reserve_nothing_in_their_gaps() -> None:
    world = learning()
    for number in range(10):
        for stage in range(4):
            world.finish(world.call(f"p{number}", tokens=4000 + 100 * stage), prompt=4000 + 100 * stage)
        world.end(f"p{number}")
    world.finish(world.call("q", tokens=4000), prompt=4000)
    world.later(1.0)
    assert world.occupied() == 0
