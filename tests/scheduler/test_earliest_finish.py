"""Placement by the earliest estimated finish."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.log import replay
from scheduler.placement.earliest_finish import finish
from scheduler.policy import Choice, PolicyConfig
from scheduler.types import EngineSpec, StepCost
from tests.scheduler.parts import a_call, a_program, a_view, an_engine
from tests.scheduler.world import World, spec


def policy(admission: str = "unlimited") -> PolicyConfig:
    return PolicyConfig(
        "test",
        order=Choice("fcfs"),
        placement=Choice("earliest_finish"),
        admission=Choice(admission),
        retention=Choice("none"),
    )


def costing(kv_tokens: int, constant: float, prefill_token: float = 1 / 2000) -> EngineSpec:
    return replace(spec(kv_tokens), cost=StepCost(constant, prefill_token))


def place(world: World) -> str:
    return world.dispatches[-1].engine


def test_an_idle_engine_takes_its_prefill_and_its_decode_steps() -> None:
    cost = StepCost(0.03, 1 / 2000, prefill_attention=1e-6, decode_request=0.001, decode_context=1e-6)
    engine = an_engine("a", replace(spec(), cost=cost))
    call = a_call(a_program("p"), prompt=500, output=50)
    prefill = 0.03 + 0.25 + 1e-6 * 500 * 501 / 2
    assert finish(a_view(engine), call, engine) == pytest.approx(prefill + 50 * (0.03 + 0.001 + 500e-6))


def test_a_program_goes_back_to_its_cache() -> None:
    world = World(policy(), {"a": costing(8192, 0.03), "b": costing(8192, 0.03)})
    world.call("elsewhere")
    world.finish(world.call("p"))
    assert place(world) == "b"
    for call in list(world.running):
        world.finish(call)
    world.call("p", tokens=1000, turns=2)
    assert place(world) == "b"


def test_a_program_leaves_its_cache_when_the_queue_there_costs_more_than_prefill_elsewhere() -> None:
    world = World(policy(), {"a": costing(8192, 0.03), "b": costing(8192, 0.03)})
    world.finish(world.call("p"))
    world.call("busy", tokens=3000)
    assert [dispatch.engine for dispatch in world.dispatches] == ["a", "a"]
    world.call("p", tokens=1000, turns=2)
    assert place(world) == "b"


@pytest.mark.parametrize(("kv_tokens", "engine"), [(1000, "b"), (8192, "a")])
def test_waiting_for_memory_on_the_faster_engine_counts(kv_tokens: int, engine: str) -> None:
    """With room, a ends the call after 2.2 s; without, after 3.3 s. b needs 2.8 s."""
    world = World(policy(), {"a": costing(kv_tokens, 0.03), "b": costing(8192, 0.05)})
    world.call("busy", tokens=850)
    assert place(world) == "a"
    world.call("p")
    assert place(world) == engine


@pytest.mark.parametrize(("seats", "engine"), [(1, "b"), (2, "a")])
def test_waiting_for_a_place_in_the_batch_counts(seats: int, engine: str) -> None:
    world = World(policy(), {"a": replace(costing(8192, 0.03), max_num_seqs=seats), "b": costing(8192, 0.05)})
    world.call("busy")
    world.call("p")
    assert place(world) == engine


def test_an_engine_that_admits_the_call_comes_before_one_that_would_end_it_sooner() -> None:
    world = World(policy("memory"), {"a": costing(1000, 0.001, 1 / 20_000), "b": costing(8192, 0.05)})
    world.call("busy", tokens=850)
    assert place(world) == "a"
    call = world.call("p")
    assert world.running[call] == "b"


def test_equal_engines_are_taken_from_the_first() -> None:
    world = World(policy(), {"a": costing(8192, 0.03), "b": costing(8192, 0.03)})
    world.call("p")
    assert place(world) == "a"


def test_a_log_under_earliest_finish_replays() -> None:
    world = World(policy("working_set"), {"a": costing(3000, 0.03), "b": costing(1500, 0.05)})
    for turn in range(1, 4):
        for number in range(6):
            world.call(f"p{number}", tokens=300 * turn, turns=turn, final=turn == 3)
        while world.running:
            world.later(0.9)
            for call in list(world.running):
                world.finish(call, prompt=300 * turn)
    assert not world.waiting
    assert replay(world.log).first_difference is None
