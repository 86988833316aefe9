"""Drivers say again how their calls are: the brain may be another one than they knew."""

from __future__ import annotations

from scheduler.actions import Abort, Dispatch
from scheduler.types import EngineId
from tests.scheduler.world import World, key, spec


def test_a_call_that_runs_is_put_on_its_engines_account_without_being_sent_again() -> None:
    world = World(engines={"a": spec(), "b": spec()})
    call = world.arrival("p", tokens=700, output=50).call
    world.announce(call, "b", started=True, output=7)
    assert not world.dispatches
    assert world.occupied("b") >= 750
    assert world.brain.programs[key("p")].engine == "b"
    world.finish(call, prompt=700)
    assert world.brain.programs[key("p")].served == 1


def test_a_call_that_waits_though_it_was_sent_is_sent_anew() -> None:
    world = World()
    call = world.call("p")
    world.announce(call, None)
    assert [dispatch.call for dispatch in world.dispatches] == [call, call]


def test_what_is_as_the_brain_knows_it_changes_nothing() -> None:
    world = World(engines={"a": spec(1000)})
    running, waiting = world.call("p", tokens=800), world.call("q", tokens=800)
    before = world.occupied()
    world.announce(running, "a")
    world.announce(waiting, None)
    assert len(world.dispatches) == 1
    assert world.occupied() == before
    assert world.waiting == {waiting}


def test_a_call_that_went_elsewhere_leaves_the_account_of_the_engine_it_was_meant_for() -> None:
    world = World(engines={"a": spec(), "b": spec()})
    call = world.call("p")
    there = world.running[call]
    other = EngineId("b" if there == "a" else "a")
    world.announce(call, other)
    assert world.occupied(there) == 0
    assert world.occupied(other) > 0


def test_a_call_on_an_engine_that_nobody_knows_is_ended() -> None:
    world = World()
    arrival = world.arrival("p")
    world.running[arrival.call] = EngineId("elsewhere")
    world.announce(arrival.call, "elsewhere")
    assert world.actions[-1] == Abort(arrival.call)
    assert not any(isinstance(action, Dispatch) for action in world.actions)
    assert not world.brain.calls
