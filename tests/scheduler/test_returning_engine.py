"""An engine that drains for a while only: calls wait for it."""

from __future__ import annotations

from scheduler.events import EngineDown, EngineDraining, EngineResumed, EngineUp
from scheduler.types import EngineId
from tests.scheduler.world import World, spec

A = EngineId("a")


def test_calls_wait_for_the_only_engine_and_go_there_when_it_is_back() -> None:
    world = World(engines={"a": spec(8000)})
    world.feed(EngineDraining(world.now, A, returns=True))
    call = world.call("p")
    assert call in world.waiting
    world.later(120)
    assert call in world.waiting, "an aged call cannot enter what is closed"
    world.feed(EngineResumed(world.now, A))
    assert world.running == {call: A}


def test_calls_that_wait_already_go_on_waiting() -> None:
    world = World(engines={"a": spec(1000)})
    world.call("p", tokens=900)
    second = world.call("q", tokens=900)
    assert second in world.waiting
    world.feed(EngineDraining(world.now, A, returns=True))
    assert second in world.waiting
    world.up("a")
    assert world.running[second] == A


def test_they_are_rejected_if_it_goes_down_instead() -> None:
    world = World(engines={"a": spec(8000)})
    world.feed(EngineDraining(world.now, A, returns=True))
    call = world.call("p")
    world.feed(EngineDown(world.now, A))
    assert call in world.rejected


def test_calls_go_elsewhere_where_they_can() -> None:
    world = World(engines={"a": spec(), "b": spec()})
    world.feed(EngineDraining(world.now, A, returns=True))
    call = world.call("p")
    assert world.running == {call: EngineId("b")}


def test_an_engine_that_comes_up_anew_has_nothing_of_before() -> None:
    world = World(engines={"a": spec(8000)})
    first = world.call("p")
    world.finish(first)
    assert world.occupied()
    world.feed(EngineDraining(world.now, A, returns=True))
    world.feed(EngineUp(world.now, A, world.engines["a"]))
    assert world.occupied() == 0
    assert world.brain.programs[world.arrivals[first].program].engine is None
