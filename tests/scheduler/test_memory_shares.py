"""Shares of memory: what a tenant above its own leaves to the others."""

from __future__ import annotations

from dataclasses import replace

from scheduler.fairness.memory_shares import PRESENCE
from scheduler.gate import BEHIND
from scheduler.log import replay
from scheduler.policy import Choice
from scheduler.types import CallId
from tests.scheduler.parts import arrive
from tests.scheduler.world import STEADY, World, spec

MEMORY = 10_000
BY_SHARES = replace(STEADY, fairness=Choice("virtual_token_counter"))
AS_PUBLISHED = replace(STEADY, fairness=Choice("virtual_token_counter", (("reserve", 0.0),)))


def visited(fairness: str = "shares") -> World:
    """A world that a tenant called light has visited, whose program has ended."""
    world = World(BY_SHARES if fairness == "shares" else AS_PUBLISHED, {"a": spec(MEMORY)})
    call = arrive(world, "first", tenant="light")
    world.later(1.0)
    world.finish(call)
    world.end("first", tenant="light")
    return world


def flood(world: World) -> int:
    """A heavy tenant asks for more than fits; says how many of its programs are in."""
    for number in range(30):
        arrive(world, f"p{number}", tenant="heavy")
    return len(world.running)


def crowd(world: World) -> CallId:
    """The light tenant asks for more until a call of it has to wait: that one."""
    number = 0
    while (call := arrive(world, f"more{number}", tenant="light", tokens=1000)) in world.running:
        number += 1
    return call


def test_a_tenant_that_comes_back_finds_room_beside_one_that_asks_for_all() -> None:
    world = visited()
    flood(world)
    assert arrive(world, "second", tenant="light") in world.running
    assert replay(world.log).first_difference is None


def test_as_published_it_waits_until_a_program_ends() -> None:
    world = visited("as published")
    flood(world)
    assert arrive(world, "second", tenant="light") in world.waiting


def test_no_more_is_left_free_than_newcomers_need() -> None:
    kept, all_of_it = flood(visited()), flood(visited("as published"))
    assert all_of_it - 4 <= kept < all_of_it, "two newcomers of twice a program's present size, at the most"


def test_a_tenant_alone_takes_all_and_so_does_one_whose_neighbour_is_long_gone() -> None:
    world = World(BY_SHARES, {"a": spec(MEMORY)})
    alone = flood(world)
    world = visited()
    world.later(PRESENCE + 1.0)
    assert flood(world) == alone


def test_calls_above_the_share_stand_behind_inside_engines_too() -> None:
    world = visited()
    for number in range(9):
        call = arrive(world, f"served{number}", tenant="heavy", tokens=3000)
        world.finish(call)
        world.end(f"served{number}", tenant="heavy")
    flood(world)
    crowd(world)
    assert world.dispatches[-1].call.startswith("light")
    assert world.dispatches[-1].priority < BEHIND
    arrive(world, "p0", stage="next", tenant="heavy")
    assert world.dispatches[-1].call.startswith("heavy")
    assert world.dispatches[-1].priority >= BEHIND


def test_who_is_below_his_share_need_not_leave_room_for_the_growth_of_who_is_above() -> None:
    world = visited()
    flood(world)
    crowd(world)
    light = sum(name.startswith("light") for name in world.running)
    assert light >= 3, "one more than the two newcomers there is kept room for"


def next_in(world: World) -> CallId:
    """Programs of the heavy tenant end until another call may go: that one."""
    before = len(world.dispatches)
    while len(world.dispatches) == before:
        ended = next(name for name in world.running if name.startswith("heavy"))
        world.finish(ended)
        world.end(ended.split("/")[1], tenant="heavy")
    return world.dispatches[before].call


def test_who_is_above_his_share_goes_first_if_he_was_served_less() -> None:
    world = World(BY_SHARES, {"a": spec(MEMORY)})
    for number in range(9):
        call = arrive(world, f"served{number}", tenant="light", tokens=3000)
        world.finish(call)
        world.end(f"served{number}", tenant="light")
    flood(world)
    crowd(world)
    assert next_in(world).startswith("heavy")


def test_who_is_below_his_share_goes_before_who_is_above_and_was_served_more() -> None:
    world = visited()
    for number in range(9):
        call = arrive(world, f"served{number}", tenant="heavy", tokens=3000)
        world.finish(call)
        world.end(f"served{number}", tenant="heavy")
    flood(world)
    call = crowd(world)
    assert next_in(world) == call
