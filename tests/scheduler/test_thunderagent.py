"""ThunderAgent's ticks, in scenes to count by hand. Engines hold 2,000 tokens unless said otherwise."""

from __future__ import annotations

import pytest

from scheduler.actions import Why
from scheduler.events import CallProgressed, EngineObserved, EngineUp
from scheduler.log import replay
from scheduler.policy import PRESETS
from scheduler.types import CallId, EngineId
from tests.scheduler.world import World, key, spec

PAPER, CODE = "thunderagent", "thunderagent_code"
BOTH = pytest.mark.parametrize("preset", [PAPER, CODE])


def world_of(preset: str, **kv_tokens: int) -> World:
    return World(PRESETS[preset], engines={name: spec(tokens) for name, tokens in (kv_tokens or {"a": 2000}).items()})


def members(world: World, engine: str = "a") -> set[str]:
    return {program.program for program in world.brain.engines[EngineId(engine)].members}


def marked(world: World) -> set[str]:
    return {program.program for program, state in world.brain.programs.items() if state.marked}


def gap(world: World, program: str, prompt: int, output: int = 50) -> None:
    """The program makes a call, has its answer and is in a gap with a context of both."""
    world.finish(world.call(program, tokens=prompt), prompt=prompt, output=output)


def crowded() -> tuple[World, CallId]:
    """After 5 s: `p` was paused in a gap, with 1,000 tokens, for `big`, whose call runs with 1,300; 600 are left."""
    world = world_of(CODE)
    gap(world, "p", 950)
    gap(world, "big", 700)
    call = world.call("big", tokens=1300)
    world.later(5.0)
    assert members(world) == {"big"}
    return world, call


# --- arrivals -------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(("tokens", "enters"), [(1900, True), (1901, False)])
def test_a_new_program_enters_if_there_is_room_for_it_and_its_buffer(preset: str, tokens: int, enters: bool) -> None:
    world = world_of(preset)
    assert (world.call("p", tokens=tokens) in world.running) is enters


@BOTH
def test_a_new_program_goes_where_the_fewest_tokens_are_active_of_the_engines_with_room(preset: str) -> None:
    world = world_of(preset, a=3000, b=700)
    first = world.call("first", tokens=500)
    second, third = world.call("second", tokens=650), world.call("third", tokens=500)
    assert [world.running[call] for call in (first, second, third)] == ["a", "a", "b"], "b has no room for the second"


@BOTH
def test_an_active_program_enters_without_asking_even_if_it_does_not_fit(preset: str) -> None:
    world = world_of(preset)
    gap(world, "p", 900)
    waiting = world.call("q", tokens=1000)
    assert world.call("p", tokens=2500) in world.running
    assert waiting in world.waiting


@pytest.mark.parametrize(("preset", "enters"), [(PAPER, True), (CODE, False)])
def test_gaps_lose_their_weight_with_time_at_a_tick_but_not_at_an_arrival(preset: str, enters: bool) -> None:
    world = world_of(preset)
    gap(world, "p", 900, 100)
    world.later(4.0)
    call = world.call("q", tokens=850)
    assert call in world.waiting, "950 are wanted, 900 are left: the gap counts whole"
    world.later(1.0)
    assert (call in world.running) is enters, "the gap counts for 1000 / 32 if it decays"


def test_nobody_new_enters_before_a_tick_while_the_pool_is_not_empty() -> None:
    world, _ = crowded()
    call = world.call("q", tokens=300)
    assert call in world.waiting, "400 would fit into 600, but p is paused"
    world.later(4.0)
    assert call in world.waiting
    world.later(1.0)
    assert call in world.running


@BOTH
def test_a_program_that_lost_its_engine_in_a_gap_keeps_nobody_out(preset: str) -> None:
    world = world_of(preset, a=2000, b=2000)
    gap(world, "p", 500)
    world.down("a")
    call = world.call("q", tokens=500)
    assert world.running.get(call) == "b"


@BOTH
def test_a_call_that_its_engine_does_not_take_goes_to_another(preset: str) -> None:
    world = world_of(preset, a=2000, b=2000)
    call = world.call("p")
    assert world.running[call] == "a"
    world.refuse(call)
    assert world.running[call] == "b"


# --- the pause pass -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "stay"), [(CODE, {"large", "busy"}), (PAPER, {"small", "large", "busy"})])
def test_the_smallest_gap_is_paused_until_the_rest_fits(preset: str, stay: set[str]) -> None:
    world = world_of(preset, a=3000)
    for program, prompt in (("small", 450), ("large", 850), ("busy", 950)):
        gap(world, program, prompt)
    world.call("busy", tokens=1500)
    world.later(5.0)
    assert members(world) == stay, "500 + 900 + 1500 + 300 is 200 too much, unless gaps of 5 s count for a 32nd"


def test_a_gap_is_paused_before_a_smaller_program_that_reasons() -> None:
    world = world_of(CODE)
    gap(world, "gap", 950)
    world.call("small", tokens=300)
    growing = world.call("growing", tokens=300)
    world.feed(CallProgressed(world.now, growing, 300))
    world.later(5.0)
    assert members(world) == {"small", "growing"}
    assert marked(world) == set()


@pytest.mark.parametrize(("preset", "expected"), [(PAPER, {"p"}), (CODE, {"p", "q", "r"})])
def test_where_all_reason_the_paper_marks_what_is_too_much_and_the_code_marks_all(
    preset: str, expected: set[str]
) -> None:
    world = world_of(preset)
    world.call("p", tokens=600)
    world.call("q", tokens=800)
    growing = world.call("r", tokens=200)
    world.feed(CallProgressed(world.now, growing, 500))
    world.later(5.0)
    assert marked(world) == expected, "2,400 are 400 too much; p is the smallest"
    world.later(5.0)
    assert marked(world) == expected


@BOTH
def test_a_marked_program_is_paused_when_its_call_is_answered(preset: str) -> None:
    world = world_of(preset)
    call = world.call("p", tokens=600)
    world.call("q", tokens=800)
    growing = world.call("r", tokens=200)
    world.feed(CallProgressed(world.now, growing, 500))
    world.later(5.0)
    assert members(world) == {"p", "q", "r"}
    world.finish(call, prompt=600)
    assert members(world) == {"q", "r"}
    assert world.call("p", tokens=700) in world.waiting


# --- the resume pass ------------------------------------------------------------------------------------------------


def test_a_paused_program_waits_for_the_tick_that_finds_room() -> None:
    world, big = crowded()
    again = world.call("p", tokens=1000)
    world.finish(big, prompt=1300)
    world.end("big")
    assert again in world.waiting, "room alone lets nobody in"
    world.later(5.0)
    assert again in world.running


@pytest.mark.parametrize("returned", [True, False])
def test_those_that_come_back_are_resumed_before_new_ones_and_gaps_after_them(returned: bool) -> None:
    world, big = crowded()
    if returned:
        world.call("p", tokens=1000)
    world.call("new", tokens=950)
    world.finish(big, prompt=1300)
    world.end("big")
    world.later(5.0)
    assert members(world) == ({"p"} if returned else {"new"}), "1100 and 1050 do not both fit"


def test_a_program_too_large_for_the_room_does_not_keep_back_those_after_it() -> None:
    world, _ = crowded()
    large, small = world.call("p", tokens=1000), world.call("q", tokens=300)
    world.later(5.0)
    assert large in world.waiting
    assert small in world.running


def test_a_gap_that_is_resumed_enters_at_once_when_it_ends() -> None:
    world, big = crowded()
    world.finish(big, prompt=1300)
    world.end("big")
    world.later(5.0)
    assert members(world) == {"p"}
    assert world.call("p", tokens=1000) in world.running


@BOTH
def test_the_largest_is_placed_first_each_where_most_is_left(preset: str) -> None:
    world = world_of(preset, a=2000, b=1500)
    huge = world.call("huge", tokens=3000)
    calls = [world.call(name, tokens=tokens) for name, tokens in (("x", 900), ("z", 600), ("y", 700))]
    assert world.waiting == {huge, *calls}
    world.later(5.0)
    assert [world.running[call] for call in calls] == ["a", "a", "b"], "x leaves 1,000 in a; y leaves 700 in b"
    assert world.waiting == {huge}


# --- starvation -----------------------------------------------------------------------------------------------------


@BOTH
def test_a_new_call_that_waited_half_an_hour_goes_where_the_fewest_programs_are(preset: str) -> None:
    world = world_of(preset, a=1000, b=1000)
    world.call("x", tokens=500)
    starving = world.call("p", tokens=950)
    world.later(1799.0)
    assert starving in world.waiting
    world.later(1.0)
    assert world.running.get(starving) == "b"
    assert world.dispatches[-1].why is Why.AGED


def test_a_later_call_that_waited_half_an_hour_goes_back_to_where_its_program_was() -> None:
    world, _ = crowded()
    starving = world.call("p", tokens=1000)
    world.feed(EngineUp(world.now, EngineId("b"), spec(500)))
    world.later(1799.0)
    assert starving in world.waiting
    world.later(1.0)
    assert world.running.get(starving) == "a"


# --- shared prefixes ------------------------------------------------------------------------------------------------


def overfull(preset: str) -> World:
    """Two programs that reason, with 1,300 and 700 tokens: with their buffers 200 too much."""
    world = world_of(preset)
    growing = world.call("p", tokens=900)
    world.call("q", tokens=700)
    world.feed(CallProgressed(world.now, growing, 400))
    return world


def observe(world: World, kv_used: int, waiting: int = 0) -> None:
    world.feed(EngineObserved(world.now, EngineId("a"), world.now, 2 - waiting, waiting, kv_used))


@pytest.mark.parametrize(
    ("preset", "kv_used", "queued", "expected"),
    [
        (PAPER, 1500, 0, set()),
        (PAPER, 1900, 0, {"q"}),
        (PAPER, 1500, 1, {"q"}),
        (CODE, 1500, 0, {"p", "q"}),
    ],
)
def test_what_calls_share_by_the_engines_usage_counts_once_in_the_paper(
    preset: str, kv_used: int, queued: int, expected: set[str]
) -> None:
    world = overfull(preset)
    observe(world, kv_used, queued)
    world.later(5.0)
    assert marked(world) == expected


def test_sharing_is_still_believed_when_requests_begin_to_wait_in_the_engine() -> None:
    world = overfull(PAPER)
    observe(world, 1500)
    world.later(5.0)
    observe(world, 1400, waiting=1)
    world.later(5.0)
    assert marked(world) == set()


# --- replay ---------------------------------------------------------------------------------------------------------


def test_pauses_and_resumptions_replay_to_the_same_actions() -> None:
    world, big = crowded()
    again, new = world.call("p", tokens=1000), world.call("q", tokens=300)
    world.later(5.0)
    world.finish(big, prompt=1300)
    world.end("big")
    world.later(5.0)
    assert {again, new} <= world.running.keys()
    outcome = replay(world.log)
    assert outcome.first_difference is None
    assert outcome.brain.engines[EngineId("a")].members.keys() == {key("p"), key("q")}
