"""Autellix: queues by the service a program got, promotion of those that wait, and its load balancer."""

from __future__ import annotations

import pytest

from scheduler.events import CallFirstToken
from scheduler.policy import Choice, PolicyConfig, Value
from scheduler.types import CallId, EngineId
from tests.scheduler.world import World, spec

TOKENS: tuple[tuple[str, Value], ...] = (("factor", 4.0), ("first", 2048.0), ("tokens", True))


def autellix(*params: tuple[str, Value], admission: str = "unlimited") -> PolicyConfig:
    return PolicyConfig(
        "test",
        order=Choice("attained_service", params),
        placement=Choice("short_anywhere"),
        admission=Choice(admission),
        retention=Choice("none"),
    )


def run(world: World, call: CallId, *, queued: float, seconds: float) -> None:
    """The call waits inside its engine, then is executed, all of its prompt being cached."""
    world.later(queued)
    world.feed(CallFirstToken(world.now, call))
    world.later(seconds)
    world.finish(call, cached=500)


def queue(world: World, program: str) -> int:
    """The queue in which the program's next call is sent."""
    world.call(program)
    return world.dispatches[-1].priority


def engine_of(world: World, call: CallId) -> EngineId:
    return world.running[call]


@pytest.mark.parametrize(
    ("output", "expected"), [(47, 0), (48, 1), (6191, 1), (6192, 2), (30767, 2), (30768, 3), (300_000, 3)]
)
def test_a_call_joins_the_queue_of_its_programs_service(output: int, expected: int) -> None:
    world = World(autellix(*TOKENS))
    world.finish(world.call("p"), prompt=2000, output=output)
    assert queue(world, "p") == expected, "bounds are 2,048, 8,192 and 32,768 tokens"


def test_cached_tokens_are_no_service() -> None:
    world = World(autellix(*TOKENS))
    world.finish(world.call("p"), prompt=3000, output=50, cached=2900)
    assert queue(world, "p") == 0


def test_the_queues_begin_at_multiples_of_the_median_service_in_seconds() -> None:
    world = World(autellix())
    queues = []
    for _ in range(5):
        call = world.call("p")
        queues.append(world.dispatches[-1].priority)
        run(world, call, queued=0.0, seconds=10.0)
    assert queues == [0, 1, 2, 2, 3], "services are 0, 1, 2, 3 and 4 times the median; bounds are 1, 2 and 4 times"


def test_waiting_inside_the_engine_is_no_service() -> None:
    world = World(autellix(("first", 10.0)))
    run(world, world.call("p"), queued=5.0, seconds=9.0)
    assert queue(world, "p") == 0


def test_calls_at_the_same_time_count_as_the_longest_of_them() -> None:
    world = World(autellix(*TOKENS))
    first, second = world.call("p"), world.call("p")
    world.finish(first, prompt=1400, output=100)
    world.finish(second, prompt=1400, output=100)
    assert queue(world, "p") == 0


def test_calls_after_one_another_count_as_their_sum() -> None:
    world = World(autellix(*TOKENS))
    for _ in range(2):
        world.finish(world.call("p"), prompt=1400, output=100)
    assert queue(world, "p") == 1


@pytest.mark.parametrize(("queued", "expected"), [(19.0, 1), (20.0, 0)])
def test_a_program_that_waited_twice_its_service_goes_to_the_first_queue(queued: float, expected: int) -> None:
    world = World(autellix())
    run(world, world.call("p"), queued=queued, seconds=10.0)
    assert queue(world, "p") == expected


def behind_a_long_call(waited: float) -> World:
    """A served program's call, then a newcomer's, wait for so long; then the engine has room again."""
    world = World(autellix(admission="past_future"), {"a": spec(3000)})
    run(world, world.call("served"), queued=0.0, seconds=10.0)
    busy = world.call("busy", tokens=2500, output=400)
    assert {world.call("served", tokens=1000), world.call("new", tokens=1000)} == world.waiting
    world.later(waited)
    world.finish(busy, prompt=2500)
    return world


@pytest.mark.parametrize(("waited", "programs"), [(19.0, ["new#4", "served#3"]), (20.0, ["served#3", "new#4"])])
def test_the_line_goes_by_queue_until_a_call_starves(waited: float, programs: list[str]) -> None:
    world = behind_a_long_call(waited)
    assert [dispatch.call for dispatch in world.dispatches[-2:]] == programs


def test_the_same_events_give_the_same_decisions() -> None:
    assert behind_a_long_call(7.0).log == behind_a_long_call(7.0).log


def test_a_program_that_has_ended_begins_anew() -> None:
    world = World(autellix(*TOKENS))
    world.finish(world.call("p"), prompt=3000)
    world.end("p")
    assert queue(world, "p") == 0


def test_a_refused_call_keeps_the_service_it_inherited() -> None:
    world = World(autellix(*TOKENS), {"a": spec(), "b": spec()})
    first, second = world.call("p"), world.call("p")
    world.finish(first, prompt=3000)
    world.refuse(second)
    assert (world.dispatches[-1].call, world.dispatches[-1].priority) == (second, 0)


def test_a_cancelled_call_is_no_service() -> None:
    world = World(autellix(*TOKENS))
    world.finish(world.call("p"), prompt=1000)
    world.cancel(world.call("p", tokens=3000))
    assert queue(world, "p") == 0


def test_long_calls_stay_with_their_programs_engine_and_short_ones_go_anywhere() -> None:
    world = World(autellix(), {"a": spec(), "b": spec()})
    first = world.call("p", tokens=2049)
    assert engine_of(world, first) == "a"
    world.finish(first, prompt=2049)
    assert engine_of(world, world.call("other", tokens=3000)) == "a"
    short = world.call("p", tokens=2048)
    assert engine_of(world, short) == "b"
    world.finish(short, prompt=2048)
    assert engine_of(world, world.call("p", tokens=3000)) == "a"


def test_a_program_whose_engine_is_gone_gets_another_for_good() -> None:
    world = World(autellix(), {"a": spec(), "b": spec()})
    world.finish(world.call("p", tokens=3000), prompt=3000)
    world.down("a")
    moved = world.call("p", tokens=3000)
    assert engine_of(world, moved) == "b"
    world.up("a")
    assert engine_of(world, world.call("p", tokens=3000)) == "b"


def test_calls_that_wait_for_an_engine_are_a_part_of_its_load() -> None:
    world = World(autellix(admission="past_future"), {"a": spec(3000), "b": spec(3000)})
    for program in ("p", "q", "r", "s"):
        world.call(program, tokens=1800)
    assert len(world.waiting) == 2
    for call in [*world.running]:
        world.finish(call, prompt=1800)
    assert {dispatch.engine for dispatch in world.dispatches[-2:]} == {"a", "b"}
