"""The virtual token counter: what tenants are charged, and whose turn it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.events import TenantChanged
from scheduler.fairness.virtual_token_counter import VirtualTokenCounter
from scheduler.log import replay
from scheduler.policy import Choice, PolicyConfig
from scheduler.state import Call, Program
from scheduler.types import CallId, ProgramKey, TenantId, Usage
from tests.scheduler.parts import a_call, a_view, an_engine, arrive
from tests.scheduler.world import World, spec

ENGINE = an_engine()
VIEW = a_view(ENGINE)


def of(tenant: str, number: int = 0, *, prompt: int = 500) -> Call:
    program = Program(ProgramKey(TenantId(tenant), f"p{number}"), 0, 0.0, 0.0, "", "", None, 0.25, 0.0)
    call = a_call(program, prompt=prompt)
    call.id = CallId(f"{tenant}{number}")
    return call


def published() -> VirtualTokenCounter:
    return VirtualTokenCounter(cached_weight=1.0, held_weight=0.0, credit=0.0, reserve=0.0)


def start(fairness: VirtualTokenCounter, call: Call) -> Call:
    fairness.call_arrived(VIEW, call)
    fairness.call_dispatched(VIEW, call, ENGINE)
    return call


def test_a_tenant_pays_for_prompts_when_they_are_sent_and_for_output_as_it_comes() -> None:
    fairness = published()
    call = of("x")
    fairness.call_arrived(VIEW, call)
    assert fairness.turn(VIEW, call) == 0.0
    fairness.call_dispatched(VIEW, call, ENGINE)
    assert fairness.turn(VIEW, call) == 500.0
    call.output = 20
    assert fairness.turn(VIEW, call) == 540.0
    fairness.call_finished(VIEW, call, Usage(510, 50), ENGINE)
    assert fairness.turn(VIEW, call) == 610.0, "510 prompt tokens, as it turned out, and 50 of output at 2 each"


def test_cached_prompt_tokens_may_be_cheaper() -> None:
    fairness = VirtualTokenCounter(cached_weight=0.1)
    call = start(fairness, of("x"))
    fairness.call_finished(VIEW, call, Usage(500, 0, 400), ENGINE)
    assert fairness.turn(VIEW, call) == pytest.approx(100 + 0.1 * 400)


def test_a_tenant_that_was_away_comes_back_level_with_the_least_served_of_those_that_wait() -> None:
    fairness = published()
    start(fairness, of("x", prompt=900))
    start(fairness, of("y", prompt=700))
    for tenant in ("y", "x"):
        fairness.call_arrived(VIEW, of(tenant, 1))
    newcomer = of("z")
    fairness.call_arrived(VIEW, newcomer)
    assert fairness.turn(VIEW, newcomer) == 700.0


def test_a_tenant_that_was_away_keeps_so_much_credit_and_no_more() -> None:
    fairness = VirtualTokenCounter(credit=300.0)
    start(fairness, of("x", prompt=900))
    fairness.call_arrived(VIEW, of("x", 1))
    newcomer = of("z")
    fairness.call_arrived(VIEW, newcomer)
    assert fairness.turn(VIEW, newcomer) == 600.0


@pytest.mark.parametrize(("others_wait", "price"), [(True, 2.0 * 100 / 1000 * 500), (False, 0.0)])
def test_kv_held_in_a_gap_costs_what_could_be_computed_meanwhile_if_others_wait(
    others_wait: bool, price: float
) -> None:
    fairness = VirtualTokenCounter()
    engine = an_engine("a", replace(spec(1000), prefill_tokens_per_s=500.0))
    view = a_view(engine)
    call = of("x")
    call.program.engine, call.program.context, call.program.member = engine.id, 100, True
    if others_wait:
        fairness.call_arrived(view, of("y"))
    fairness.gap_ended(view, call.program, 2.0)
    assert fairness.turn(view, call) == pytest.approx(price)


def test_a_counter_is_never_lowered() -> None:
    fairness = published()
    start(fairness, of("x", prompt=900))
    start(fairness, of("y", prompt=700))
    fairness.call_arrived(VIEW, of("y", 1))
    back = of("x", 1)
    fairness.call_arrived(VIEW, back)
    assert fairness.turn(VIEW, back) == 900.0


def test_nothing_is_lifted_while_nobody_waits_nor_for_a_tenant_that_waits_already() -> None:
    fairness = published()
    start(fairness, of("x"))
    first, second = of("y"), of("y", 1)
    fairness.call_arrived(VIEW, first)
    assert fairness.turn(VIEW, first) == 0.0
    fairness.call_arrived(VIEW, of("x", 1))
    fairness.call_arrived(VIEW, second)
    assert fairness.turn(VIEW, second) == 0.0


def test_a_call_that_was_cancelled_in_line_costs_nothing_and_waits_no_more() -> None:
    fairness = published()
    start(fairness, of("x"))
    gone = of("x", 1)
    fairness.call_arrived(VIEW, gone)
    fairness.call_dropped(VIEW, gone)
    newcomer = of("y")
    fairness.call_arrived(VIEW, newcomer)
    assert fairness.turn(VIEW, gone) == 500.0
    assert fairness.turn(VIEW, newcomer) == 0.0, "nobody waited when it came"


def policy() -> PolicyConfig:
    return PolicyConfig(
        "test",
        fairness=Choice("virtual_token_counter"),
        order=Choice("fcfs"),
        placement=Choice("least_loaded"),
        admission=Choice("memory"),
        retention=Choice("none"),
    )


def drain(world: World) -> list[str]:
    """Ends calls one by one; says whose calls were dispatched, in order."""
    while world.running:
        world.later(1.0)
        world.finish(next(iter(world.running)))
    return [dispatch.call[0] for dispatch in world.dispatches]


def test_a_tenant_with_many_calls_takes_turns_with_one_that_has_few() -> None:
    world = World(policy(), {"a": spec(1000)})
    for number in range(4):
        arrive(world, f"p{number}", tenant="x")
    for number in range(2):
        arrive(world, f"p{number}", tenant="y")
    assert drain(world) == ["x", "y", "x", "y", "x", "x"]


def test_a_tenant_of_twice_the_weight_gets_twice_the_turns() -> None:
    world = World(policy(), {"a": spec(1000)})
    world.feed(TenantChanged(0.0, "x", 2.0))
    for tenant in "xy":
        for number in range(6):
            arrive(world, f"p{number}", tenant=tenant)
    assert drain(world)[:9].count("x") == 6


@pytest.mark.parametrize("fairness", ["none", "virtual_token_counter"])
def test_a_smaller_tier_goes_first_whatever_was_used(fairness: str) -> None:
    world = World(replace(policy(), fairness=Choice(fairness)), {"a": spec(1000)})
    world.feed(TenantChanged(0.0, "x", 9.0, tier=1))
    for tenant in "xxxyyy":
        arrive(world, f"p{len(world.log)}", tenant=tenant)
    world.feed(TenantChanged(0.0, "z", 1.0, tier=2))
    assert drain(world) == ["x", "y", "y", "y", "x", "x"], "the first found the engine free"
    assert replay(world.log).first_difference is None


def test_a_log_under_counters_replays() -> None:
    world = World(policy(), {"a": spec(1000), "b": spec(1500)})
    for number in range(15):
        arrive(world, f"p{number}", tenant="xyz"[number % 3], tokens=100 + 40 * number)
    drain(world)
    assert not world.brain.calls
    assert replay(world.log).first_difference is None
