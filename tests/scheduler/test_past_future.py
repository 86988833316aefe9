"""Past-Future admission: the peak against its definition, and what it lets in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.admission.past_future import peak
from scheduler.events import CallArrived, CallProgressed
from scheduler.policy import Choice, PolicyConfig, Value
from scheduler.types import CallId
from tests.scheduler.world import MODEL, World, key, marks, spec

PINS = Choice("fixed_ttl", (("ttl", 30.0),))
NO_PINS = Choice("none")


def past_future(*params: tuple[str, Value], retention: Choice = NO_PINS) -> PolicyConfig:
    return PolicyConfig(
        "test",
        order=Choice("fcfs"),
        placement=Choice("sticky"),
        admission=Choice("past_future", params),
        retention=retention,
    )


def small(policy: PolicyConfig | None = None, *, kv: int = 3000) -> World:
    return World(policy or past_future(), {"a": spec(kv)})


def teach(world: World, *outputs: int) -> None:
    """Calls finish with these outputs, one after another."""
    for number, output in enumerate(outputs):
        world.finish(world.call(f"teacher{number}"), output=output)


def test_the_peak_of_a_worked_example() -> None:
    # when the first ends, 5 tokens from now, it holds 15; when the second does, both hold 33 + 3
    assert peak([(10, 5), (20, 3)]) == 36
    assert peak([(10, 500), (20, 3)]) == 510
    assert peak([]) == 0


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=8))
def test_the_peak_is_the_most_that_is_held_at_any_step(requests: list[tuple[int, int]]) -> None:
    requests.sort(key=lambda request: -request[1])
    held = [sum(now + step for now, left in requests if left >= step) for step in range(1, 51)]
    assert peak(requests) == max(held)


def test_the_head_of_the_line_holds_back_those_that_would_fit() -> None:
    world = small()
    busy = world.call("busy", tokens=2000)
    large, tiny = world.call("large", tokens=1500), world.call("tiny", tokens=10)
    assert world.waiting == {large, tiny}
    world.finish(busy, prompt=2000)
    assert set(world.running) == {large, tiny}


def test_later_calls_of_a_program_are_tested_too() -> None:
    world = small()
    world.finish(world.call("p", tokens=1500), prompt=1500)
    world.call("busy", tokens=2000)
    assert world.call("p", tokens=1700, turns=3) in world.waiting


def test_an_idle_engine_takes_what_will_never_fit() -> None:
    world = small()
    assert world.call("p", tokens=2900, output=500) in world.running


def test_no_more_calls_enter_than_the_engine_runs_at_once() -> None:
    world = small(kv=1 << 20)
    calls = [world.call(f"p{number}", tokens=1, output=1) for number in range(257)]
    assert world.waiting == {calls[-1]}


@pytest.mark.parametrize(("output", "enters"), [(400, True), (600, False)])
def test_what_calls_will_generate_is_learned_from_those_that_finished(output: int, enters: bool) -> None:
    world = small()
    teach(world, output)
    world.call("first", tokens=1000)
    second = world.call("second", tokens=1000)
    assert (second in world.running) == enters, f"2,000 tokens now, {output} more each, of 3,000"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("longest", "enters"), [(10, True), (900, False)])
def test_a_call_is_expected_to_end_as_the_longer_ones_did(longest: int, enters: bool, seed: int) -> None:
    world = small(past_future(("seed", seed)), kv=2300)
    teach(world, *[10] * 9, longest)
    running = world.call("running", tokens=1500)
    world.feed(CallProgressed(world.now, running, 64))
    candidate = world.call("candidate", tokens=600)
    assert (candidate in world.running) == enters, "of ten lengths only 900 is more than 64"


def test_only_the_latest_lengths_count() -> None:
    world = small(past_future(("window", 2)))
    teach(world, 2000, 100, 100)
    world.call("first", tokens=1000)
    assert world.call("second", tokens=1000) in world.running


def test_each_workflow_has_lengths_of_its_own() -> None:
    world = small()
    teach(world, 2000)
    world.call("first", tokens=1000, workflow="short")
    assert world.call("second", tokens=1000, workflow="short") in world.running


@pytest.mark.parametrize(
    ("policy", "enters"),
    [
        (past_future(), True),
        (past_future(("resting", True)), False),
        (past_future(retention=PINS), False),
    ],
)
def test_pinned_contexts_are_frozen_and_others_if_so_chosen(policy: PolicyConfig, enters: bool) -> None:
    world = small(policy)
    world.finish(world.call("p", tokens=1500), prompt=1500)
    world.call("busy", tokens=100)
    assert (world.call("q", tokens=1500) in world.running) == enters


def test_a_program_is_not_held_back_by_its_own_pin() -> None:
    world = small(past_future(retention=PINS))
    world.finish(world.call("p", tokens=1500), prompt=1500)
    world.call("busy", tokens=100)
    assert world.call("p", tokens=1700, turns=3) in world.running


@pytest.mark.parametrize(("prefix", "enters"), [("p", True), ("q", False)])
def test_a_prefix_that_two_programs_share_counts_once(prefix: str, enters: bool) -> None:
    world = small()
    world.call("p", tokens=2000, turns=4)
    call = CallId("q#2")
    world.waiting.add(call)
    shared = marks(prefix, 4, 8000)
    world.feed(CallArrived(world.now, call, key("q"), MODEL, 8000, shared, prompt_tokens=2000, expected_output=50))
    assert (call in world.running) == enters


def crowd(seed: int) -> World:
    """Many calls that come and go, of very different lengths."""
    world = small(past_future(("seed", seed)), kv=4000)
    teach(world, 10, 300, 20, 900, 50, 5, 700)
    for turn in range(30):
        world.call(f"p{turn % 7}", tokens=400 + 80 * (turn % 5))
        world.later(0.1)
        if turn % 2:
            world.finish(min(world.running), output=10 + 17 * (turn % 11))
    return world


def test_the_same_seed_gives_the_same_decisions() -> None:
    assert crowd(1).log == crowd(1).log


def test_another_seed_draws_other_lengths() -> None:
    waits = {tuple(dispatch.waited for dispatch in crowd(seed).dispatches) for seed in range(6)}
    assert len(waits) > 1


def test_engines_with_calls_of_their_own_do_not_hold_back_one_another() -> None:
    bound = Choice("short_anywhere", (("short", 0),))
    policy = PolicyConfig("test", Choice("none"), Choice("fcfs"), bound, Choice("past_future"), NO_PINS)
    world = World(policy, {"a": spec(3000), "b": spec(3000)})
    world.call("p", tokens=2000)
    world.call("q", tokens=100)
    waiting = world.call("t", tokens=2000)
    assert world.call("r", tokens=2000) in world.running
    assert world.waiting == {waiting}
