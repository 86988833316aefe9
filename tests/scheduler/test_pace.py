"""How fast engines are is learned from whole answers too, and decides where programs go."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest

from scheduler.events import CallFinished
from scheduler.learned import Learned
from scheduler.pace import ENOUGH, Pace
from scheduler.policy import Choice
from scheduler.types import EngineId, Usage
from tests.scheduler.world import STEADY, World, spec

ENGINE = EngineId("a")


def worked(token: float, step: float, calls: int = 200, noise: float = 0.0) -> Pace:
    """An engine that has answered calls of Text-to-SQL's kind."""
    rng, pace = Random(1), Pace()
    for _ in range(calls):
        prefilled, generated = rng.randint(50, 1200), rng.choice((2, 20, 60))
        seconds = token * prefilled + step * generated
        pace.add(prefilled, generated, seconds * rng.uniform(1 - noise, 1 + noise))
    return pace


@pytest.mark.parametrize(("token", "step"), [(0.001, 0.05), (0.0, 0.05), (0.01, 0.001)])
def test_what_prefill_and_decode_take_is_told_apart(token: float, step: float) -> None:
    steps = worked(token, step).steps
    assert steps is not None
    assert [steps.prefill_token, steps.constant] == [pytest.approx(token, abs=1e-9), pytest.approx(step)]


def test_a_slower_engine_is_known_as_such_in_spite_of_noise() -> None:
    fast, slow = worked(0.001, 0.05, noise=0.5).steps, worked(0.0025, 0.125, noise=0.5).steps
    assert fast is not None
    assert slow is not None
    ratios = [slow.decode(1, 0) / fast.decode(1, 0), slow.prefill(1000) / fast.prefill(1000)]
    assert ratios == [pytest.approx(2.5, rel=0.3)] * 2


def test_a_few_calls_tell_nothing() -> None:
    assert worked(0.001, 0.05, calls=ENOUGH - 1).steps is None
    empty = Pace()
    for _ in range(2 * ENOUGH):
        empty.add(100, 0, 0.0)
    assert empty.steps is None, "nothing was generated"


def test_no_coefficient_is_below_zero_whatever_the_calls() -> None:
    rng = Random(2)
    for _ in range(200):
        pace = Pace()
        for _ in range(20):
            pace.add(rng.randint(0, 500), rng.randint(0, 50), rng.expovariate(1.0))
        steps = pace.steps
        assert steps is not None
        assert min(steps.constant, steps.prefill_token) >= 0
        assert max(steps.constant, steps.prefill_token) > 0


def test_calls_that_are_all_alike_count_as_decode() -> None:
    pace = Pace()
    for _ in range(20):
        pace.add(500, 50, 5.0)
    steps = pace.steps
    assert steps is not None
    assert [steps.constant, steps.prefill_token] == [pytest.approx(0.1), 0.0]


def test_an_engine_that_changes_is_known_anew() -> None:
    pace = worked(0.001, 0.05)
    for _ in range(400):
        pace.add(100, 50, 10.0)
        pace.add(1000, 5, 10.0)
    steps = pace.steps
    assert steps is not None
    assert steps.constant == pytest.approx(0.19, rel=0.05)


def test_paces_are_saved_and_older_states_have_none() -> None:
    learned = Learned()
    learned.paces[ENGINE] = worked(0.001, 0.05)
    state = json.loads(json.dumps(learned.to_json()))
    assert Learned.from_json(state).paces == learned.paces
    del state["paces"]
    assert Learned.from_json(state).paces == {}
    with pytest.raises(ValueError, match="not a saved state"):
        Learned.from_json({**state, "paces": {"a": [1.0] * 9}})


def answer_whole(world: World, program: str) -> EngineId:
    """A program of one call, whose answer comes in one piece after the time that its engine takes; says which it is."""
    call = world.call(program, final=True, streams=False)
    engine = world.running.pop(call)
    world.later(10.0 if engine == "slow" else 2.0)
    world.feed(CallFinished(world.now, call, Usage(500, 50, 0)))
    return engine


def test_a_slow_engine_that_nobody_measured_is_avoided_once_both_have_answered() -> None:
    policy = replace(STEADY, placement=Choice("least_delay"), admission=Choice("unlimited"))
    world = World(policy, {"slow": spec(100_000), "fast": spec(100_000)})
    engines = [answer_whole(world, f"p{number}") for number in range(6 * ENOUGH)]
    assert engines[0] == "slow", "so long as nothing is known, the first one"
    assert set(engines[-ENOUGH:]) == {"fast"}
