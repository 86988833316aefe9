"""HexGen's dispatch by fit and load, and round robin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.admission.unlimited import Unlimited
from scheduler.log import replay
from scheduler.placement.balanced import Balanced
from scheduler.policy import Choice, PolicyConfig, Value
from scheduler.types import EngineId, EngineSpec, StepCost
from tests.scheduler.parts import a_call, a_program, a_view, an_engine, live
from tests.scheduler.world import World, spec

FAST = StepCost(0.03, 1 / 2000)
SLOW = StepCost(0.09, 1 / 2000)


def fleet(**costs: StepCost) -> dict[str, EngineSpec]:
    return {name: replace(spec(), cost=cost) for name, cost in costs.items()}


def policy(placement: str = "balanced", admission: str = "unlimited", **params: Value) -> PolicyConfig:
    return PolicyConfig(
        "test",
        order=Choice("fcfs"),
        placement=Choice(placement, tuple(params.items())),
        admission=Choice(admission),
        retention=Choice("none"),
    )


def engines_of(world: World, calls: int) -> str:
    for number in range(calls):
        world.call(f"p{number}")
    return "".join(dispatch.engine for dispatch in world.dispatches)


@pytest.mark.parametrize(("slow_weight", "engines"), [(1.0, "abaab"), (0.5, "ababa")])
def test_the_released_code_evens_out_assigned_seconds_in_units_of_the_base(slow_weight: float, engines: str) -> None:
    """A call takes 1.78 s on a and 4.84 s on b."""
    world = World(policy(alpha=0.0, cumulative=True, slow_weight=slow_weight), fleet(a=FAST, b=SLOW))
    assert engines_of(world, 5) == engines


@pytest.mark.parametrize(("cumulative", "engines"), [(True, "ab"), (False, "aa")])
def test_work_that_has_ended_counts_only_in_the_released_code(cumulative: bool, engines: str) -> None:
    world = World(policy(alpha=0.0, cumulative=cumulative), fleet(a=FAST, b=FAST))
    first = world.call("p")
    world.later(1.0)
    world.finish(first)
    world.call("q")
    assert "".join(dispatch.engine for dispatch in world.dispatches) == engines


def test_the_very_first_call_goes_to_the_base_in_the_released_code_and_to_the_fittest_otherwise() -> None:
    assert engines_of(World(policy(alpha=0.5, cumulative=True), fleet(a=SLOW, b=FAST)), 1) == "a"
    assert engines_of(World(policy(alpha=0.5), fleet(a=SLOW, b=FAST)), 1) == "b"


def test_learned_times_of_the_stage_decide_once_it_ran_on_all_engines() -> None:
    placement, first, second = Balanced(alpha=0.5), an_engine("a"), an_engine("b")
    view = a_view(first, second)
    live(placement, view, first, [("sql", 1.0), ("plan", 4.0)])
    call = a_call(a_program("p"), stage="plan")
    assert placement.choose(view, call, [first, second], Unlimited()) is first, "b has never run it"
    live(placement, view, second, [("sql", 2.0), ("plan", 3.0)])
    assert placement.choose(view, call, [first, second], Unlimited()) is second
    assert placement.choose(view, a_call(a_program("p"), stage="sql"), [first, second], Unlimited()) is first


def test_load_outweighs_fit_when_much_is_outstanding() -> None:
    world = World(policy(alpha=0.2), fleet(a=FAST, b=SLOW))
    assert set(engines_of(world, 4)) == {"a", "b"}


def test_a_call_waits_for_the_engine_it_was_bound_to_until_that_goes_down() -> None:
    world = World(policy(admission="memory"), {"a": spec(1000), "b": spec(1000)})
    for name in ("p", "q"):
        world.call(name)
    bound = world.call("r")
    assert world.brain.calls[bound].bound == EngineId("a")
    world.down("a")
    assert world.brain.calls[bound].bound == EngineId("b")
    for _ in range(3):
        world.later(1.0)
        for call in list(world.running):
            world.finish(call)
    assert not world.brain.calls
    assert not world.rejected


def test_round_robin_takes_the_engines_in_turn_whatever_runs_there() -> None:
    world = World(policy("round_robin"), {"a": spec(), "b": spec(), "c": spec()})
    assert engines_of(world, 4) == "abca"
    for call in list(world.running):
        world.finish(call)
    assert engines_of(world, 2) == "abcabc"


def test_round_robin_gives_a_call_that_was_refused_to_another_engine() -> None:
    world = World(policy("round_robin"), {"a": spec(), "b": spec()})
    call = world.call("p")
    world.refuse(call)
    assert world.running[call] == "b"


@pytest.mark.parametrize("placement", ["balanced", "round_robin"])
def test_a_log_under_a_binding_placement_replays(placement: str) -> None:
    world = World(policy(placement, admission="memory"), {"a": spec(1500), "b": spec(1000)})
    for turn in range(1, 4):
        for number in range(8):
            world.call(f"p{number}", tokens=300 * turn, turns=turn)
        while world.running:
            world.later(0.9)
            for call in list(world.running):
                world.finish(call, prompt=300 * turn)
    assert not world.waiting
    assert replay(world.log).first_difference is None
