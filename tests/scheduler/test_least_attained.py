"""llm-d's least attained service, and the saturation gate in front of the engines."""

from __future__ import annotations

import pytest

from scheduler.events import CallFirstToken, EngineObserved
from scheduler.policy import Choice, PolicyConfig, Value
from scheduler.types import CallId, EngineId
from tests.scheduler.world import World, spec


def llmd(*params: tuple[str, Value], gate: tuple[tuple[str, Value], ...] = ()) -> PolicyConfig:
    return PolicyConfig(
        "test",
        order=Choice("least_attained", params),
        placement=Choice("sticky"),
        admission=Choice("saturation", gate),
        retention=Choice("none"),
    )


def scrape(world: World, *, waiting: int = 0, kv_used: int = 0, running: int = 0, engine: str = "a") -> None:
    world.feed(EngineObserved(world.now, EngineId(engine), world.now, running, waiting, kv_used))


def saturate(world: World) -> list[CallId]:
    """Five calls enter and wait inside the engine."""
    return [world.call(f"filler{number}", tokens=10) for number in range(5)]


def order_of(world: World, *programs: str, apart: float = 1.0) -> list[str]:
    """Calls of these programs come one after another while the engine is saturated; says how they enter."""
    fillers = saturate(world)
    names = {}
    for program in programs:
        names[world.call(program)] = program
        world.later(apart)
    assert set(names) == world.waiting
    entered = []
    for filler in fillers[: len(programs)]:
        world.finish(filler, prompt=10, output=1)
        entered.append(names[world.dispatches[-1].call])
    return entered


def serve(world: World, program: str, *, prompt: int, output: int) -> None:
    world.finish(world.call(program), prompt=prompt, output=output)


@pytest.mark.parametrize(
    ("params", "order"),
    [
        ((), ["light", "heavy"]),
        ((("service_weight", 0.0), ("wait_weight", 1.0)), ["heavy", "light"]),
        ((("service_weight", 0.1), ("wait_weight", 0.9)), ["heavy", "light"]),
    ],
)
def test_little_service_outweighs_a_longer_wait(params: tuple[tuple[str, Value], ...], order: list[str]) -> None:
    world = World(llmd(*params))
    serve(world, "heavy", prompt=2000, output=500)
    serve(world, "light", prompt=100, output=10)
    assert order_of(world, "heavy", "light") == order


def test_service_and_wait_are_compared_over_the_programs_that_wait() -> None:
    world = World(llmd())
    serve(world, "p", prompt=1000, output=0)
    serve(world, "r", prompt=500, output=0)
    # services norm to 1, 0, 0.5 and waits to 1, 0.5, 0: the scores are 0.2, 0.9 and 0.4
    assert order_of(world, "p", "q", "r") == ["q", "r", "p"]


@pytest.mark.parametrize(("weight", "order"), [(2.0, ["terse", "wordy"]), (1.0, ["wordy", "terse"])])
def test_an_output_token_counts_twice(weight: float, order: list[str]) -> None:
    world = World(llmd(("output_weight", weight)))
    serve(world, "wordy", prompt=100, output=200)
    serve(world, "terse", prompt=400, output=10)
    assert order_of(world, "wordy", "terse") == order


@pytest.mark.parametrize(("half_life", "order"), [(60.0, ["early", "late"]), (0.0, ["late", "early"])])
def test_service_fades(half_life: float, order: list[str]) -> None:
    world = World(llmd(("half_life", half_life)))
    serve(world, "early", prompt=2000, output=500)
    world.later(600.0)
    serve(world, "late", prompt=100, output=10)
    assert order_of(world, "late", "early") == order


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_equal_programs_go_by_arrival(apart: float) -> None:
    assert order_of(World(llmd()), "x", "y", "z", apart=apart) == ["x", "y", "z"]


def test_a_call_is_charged_only_when_it_ends() -> None:
    world = World(llmd())
    world.feed(CallFirstToken(world.now, world.call("running", tokens=1000)))
    serve(world, "served", prompt=10, output=1)
    assert order_of(world, "served", "running") == ["running", "served"]


def test_a_program_that_has_ended_begins_anew() -> None:
    world = World(llmd())
    serve(world, "p", prompt=2000, output=500)
    world.end("p")
    serve(world, "q", prompt=100, output=10)
    assert order_of(world, "q", "p") == ["p", "q"]


def test_the_engine_is_told_one_priority() -> None:
    world = World(llmd())
    serve(world, "p", prompt=2000, output=500)
    order_of(world, "p", "q")
    assert {dispatch.priority for dispatch in world.dispatches} == {0}


def test_the_same_events_give_the_same_decisions() -> None:
    logs = []
    for _ in range(2):
        world = World(llmd())
        serve(world, "p", prompt=1000, output=0)
        order_of(world, "p", "q", "r", "s")
        logs.append(world.log)
    assert logs[0] == logs[1]


def test_calls_wait_while_five_wait_inside_the_engine() -> None:
    world = World(llmd())
    fillers = saturate(world)
    assert set(world.running) == set(fillers)
    sixth = world.call("p")
    assert sixth in world.waiting
    world.feed(CallFirstToken(world.now, fillers[0]))
    assert sixth in world.running


def test_calls_wait_while_four_fifths_of_the_memory_are_in_use() -> None:
    world = World(llmd())
    large = [world.call(f"p{number}", tokens=3500) for number in range(2)]
    waiting = world.call("q", tokens=10)
    assert set(world.running) == set(large), "7,000 of 8,192 tokens"
    world.finish(large[0], prompt=3500)
    assert waiting in world.running


def test_a_scrape_that_shows_a_queue_closes_the_gate_until_another_shows_none() -> None:
    world = World(llmd())
    scrape(world, waiting=5)
    call = world.call("p")
    assert call in world.waiting
    scrape(world)
    assert call in world.running


def test_memory_that_others_use_counts() -> None:
    world = World(llmd())
    scrape(world, kv_used=7000)
    call = world.call("p")
    assert call in world.waiting
    scrape(world)
    assert call in world.running


def test_a_scrape_is_carried_on_by_what_was_sent_and_started_since() -> None:
    world = World(llmd())
    fillers = saturate(world)
    world.later(1.0)
    scrape(world, waiting=3, kv_used=50, running=2)
    world.later(1.0)
    calls = [world.call(f"p{number}", tokens=10) for number in range(3)]
    assert world.waiting == {calls[2]}, "three waited and two were sent"
    world.feed(CallFirstToken(world.now, fillers[0]))
    assert not world.waiting


def test_the_gate_is_open_while_one_engine_of_the_pool_has_room() -> None:
    world = World(llmd(), {"a": spec(), "b": spec()})
    scrape(world, waiting=5)
    assert world.call("p") in world.running
    scrape(world, waiting=5, engine="b")
    assert world.call("q") in world.waiting


def test_a_wait_can_be_bounded() -> None:
    world = World(llmd(gate=(("max_wait", 60.0),)))
    scrape(world, waiting=5)
    call = world.call("p")
    world.later(59.0)
    assert call in world.waiting
    world.later(1.0)
    assert call in world.running
