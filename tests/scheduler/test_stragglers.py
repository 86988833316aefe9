"""Engines that have become slower than they are known to be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from scheduler.events import CallFinished, CallFirstToken, CallSent, EngineDraining, EngineResumed
from scheduler.policy import Choice
from scheduler.stragglers import ENOUGH, MEMORY, NOTED, TRIED_AGAIN, Stragglers
from scheduler.types import EngineId, StepCost, Usage
from tests.scheduler.world import STEADY, World, spec

A, B, C = EngineId("a"), EngineId("b"), EngineId("c")
COST = StepCost(constant=0.01, prefill_token=1e-4, decode_context=1e-6)


def seen(ratios: dict[EngineId, float], calls: int = ENOUGH) -> Stragglers:
    stragglers = Stragglers()
    for call in range(calls):
        for engine, ratio in ratios.items():
            stragglers.add(engine, ratio, float(call))
    return stragglers


def test_an_engine_is_as_slow_as_it_is_beside_the_median_of_the_others() -> None:
    assert seen({A: 1.3, B: 1.3, C: 3.9}).slower == {C: pytest.approx(3.0)}


def test_what_all_take_longer_by_is_the_models_error() -> None:
    assert seen({A: 4.0, B: 4.0, C: 4.2}).slower == {}


def test_a_little_slower_is_noise() -> None:
    assert seen({A: 1.0, B: 1.0, C: NOTED - 0.05}).slower == {}
    assert seen({A: 1.0, B: 1.0, C: NOTED + 0.05}).slower == {C: pytest.approx(NOTED + 0.05)}


def test_a_few_calls_tell_nothing() -> None:
    assert seen({A: 1.0, B: 1.0, C: 9.0}, ENOUGH - 1).slower == {}


def test_an_engine_alone_is_compared_with_nobody() -> None:
    assert seen({A: 9.0}).slower == {}


def test_one_that_recovers_is_trusted_again() -> None:
    stragglers = seen({A: 1.0, B: 1.0, C: 3.0})
    for _ in range(3 * MEMORY):
        stragglers.add(C, 1.0, 100.0)
    assert stragglers.slower == {}


def test_one_that_comes_up_anew_is_judged_anew() -> None:
    stragglers = seen({A: 1.0, B: 1.0, C: 3.0})
    stragglers.forget(C)
    assert stragglers.slower == {}
    stragglers.add(C, 3.0, 100.0)
    assert stragglers.slower == {}


def test_one_that_gets_no_calls_is_tried_again_after_a_while() -> None:
    stragglers = seen({A: 1.0, B: 1.0, C: 3.0})
    last = stragglers.answered[C]
    assert stragglers.factor(C, last + TRIED_AGAIN) == pytest.approx(3.0)
    assert stragglers.factor(C, last + TRIED_AGAIN + 1) == 1.0


def test_they_are_saved() -> None:
    stragglers = seen({A: 1.0, B: 1.0, C: 3.0})
    assert Stragglers.from_json(json.loads(json.dumps(stragglers.to_json()))) == stragglers


def answer(world: World, program: str) -> str:
    """One call of a program; the engine `bad` takes five times as long for its tokens. Says where it went."""
    call = world.call(program, final=True)
    engine = world.running.pop(call)
    world.feed(CallSent(world.now, call))
    world.feed(CallFirstToken(world.now, call))
    world.later(5.0 if engine == "bad" else 1.0)
    world.feed(CallFinished(world.now, call, Usage(500, 50, 0)))
    return str(engine)


def places(*, stragglers: bool) -> list[str]:
    """Where calls go that come one by one, so that both engines, which are known as equals, are empty."""
    placement = Choice("least_delay", (("stragglers", stragglers),))
    policy = replace(STEADY, placement=placement, admission=Choice("unlimited"))
    world = World(policy, {name: replace(spec(100_000), cost=COST) for name in ("bad", "good")})
    for number in range(2 * ENOUGH + 2):  # so that both are known
        world.feed(EngineDraining(world.now, EngineId("bad" if number % 2 else "good")))
        answer(world, f"known{number}")
        world.feed(EngineResumed(world.now, EngineId("bad" if number % 2 else "good")))
    return [answer(world, f"p{number}") for number in range(10)]


def test_a_straggler_gets_nothing_while_its_equal_is_idle() -> None:
    assert set(places(stragglers=False)) == {"bad"}, "the first of equals"
    assert set(places(stragglers=True)) == {"good"}


def test_an_engine_whose_whole_answers_tell_that_tokens_cost_nothing_is_not_judged() -> None:
    world = World(STEADY, {"a": spec(100_000)})
    for prompt, output in ((100, 90), (200, 80), (300, 70), (400, 60), (500, 50), (600, 40), (700, 30)):
        call = world.call(f"whole{prompt}", final=True)
        world.running.pop(call)
        world.feed(CallSent(world.now, call))
        world.later(prompt / 100)
        world.feed(CallFinished(world.now, call, Usage(prompt, output, 0)))
    steps = world.brain.learned.paces[A].steps
    assert steps is not None
    assert steps.decode(1, 1000) == 0
    answer(world, "streamed")
    assert not world.brain.learned.stragglers.ratios
