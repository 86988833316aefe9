"""HexGen's urgency against its formula, and a line under it with admission call by call."""

from __future__ import annotations

import pytest

from scheduler.log import replay
from scheduler.order.urgency import Urgency
from scheduler.policy import Choice, PolicyConfig
from scheduler.types import CallId
from tests.scheduler.parts import a_call, a_program, a_view, an_engine, arrive, live
from tests.scheduler.world import World, key, spec

HEXGEN = PolicyConfig(
    "test",
    order=Choice("urgency"),
    placement=Choice("balanced"),
    admission=Choice("memory"),
    retention=Choice("none"),
)
STAGES = (("plan", 2.0), ("write", 6.0))
SMALL = {"a": spec(1000)}


def test_a_stage_gets_the_share_of_the_time_left_that_its_work_has_of_the_work_left() -> None:
    order, engine = Urgency(), an_engine()
    view = a_view(engine)
    live(order, view, engine, STAGES)
    call = a_call(a_program("p"), stage="plan", arrived=20.0, deadline=100.0)
    assert order.budget(view, call) == pytest.approx(80.0 * 2.0 / (2.0 + 6.0))
    assert order.key(view, call) == pytest.approx(20.0 + 20.0 - 2.0)


def test_the_last_stage_gets_all_the_time_that_is_left() -> None:
    order, engine = Urgency(), an_engine()
    view = a_view(engine)
    live(order, view, engine, STAGES)
    call = a_call(a_program("p"), stage="write", arrived=20.0, deadline=100.0)
    assert order.budget(view, call) == pytest.approx(80.0)


def test_with_the_used_up_list_of_the_released_code_every_stage_gets_all_the_time_that_is_left() -> None:
    order, engine = Urgency(shared_workflow=True), an_engine()
    view = a_view(engine)
    live(order, view, engine, STAGES)
    call = a_call(a_program("p"), stage="plan", arrived=20.0, deadline=100.0)
    assert order.key(view, call) == pytest.approx(20.0 + 80.0 - 2.0)


def test_the_service_time_is_that_of_the_engine_where_the_call_waits() -> None:
    order, slow, fast = Urgency(), an_engine("slow"), an_engine("fast")
    view = a_view(slow, fast)
    live(order, view, slow, [("plan", 9.0)])
    live(order, view, fast, [("plan", 3.0)])
    call = a_call(a_program("p"), stage="plan", arrived=20.0, deadline=100.0)
    call.bound = fast.id
    assert order.key(view, call) == pytest.approx(20.0 + 80.0 - 3.0)


def test_without_a_deadline_a_program_has_five_times_what_its_workflow_takes_alone_and_its_gaps() -> None:
    order, engine = Urgency(), an_engine()
    view = a_view(engine)
    live(order, view, engine, STAGES)
    program = a_program("p", arrived=30.0)
    alone = 2 * (0.28 + 1.5)
    assert order.times.due(view, a_call(program), 5.0) == pytest.approx(30.0 + 5 * alone)
    order.gap_ended(view, program, 7.0)
    assert order.times.due(view, a_call(program), 5.0) == pytest.approx(37.0 + 5 * alone)


def test_what_comes_after_depends_on_how_often_the_stage_was_tried_before() -> None:
    order, engine = Urgency(), an_engine()
    view = a_view(engine)
    live(order, view, engine, [("revise", 2.0)] * 3)
    program = a_program("p")
    expected = []
    for attempt in range(3):
        call = a_call(program, stage="revise", arrived=float(attempt))
        order.call_arrived(view, call)
        expected.append(order.times.after(view, call))
    assert expected == pytest.approx([4.0, 2.0, 0.0])


def test_an_agent_that_says_how_many_calls_are_left_is_believed() -> None:
    order, engine = Urgency(), an_engine()
    view = a_view(engine)
    live(order, view, engine, STAGES)
    program = a_program("p")
    program.remaining_calls = 3
    assert order.times.after(view, a_call(program, stage="plan")) == pytest.approx(2 * 4.0), (
        "this one and two of 4 s each"
    )
    program.ending = True
    assert order.times.after(view, a_call(program, stage="plan")) == 0.0


def test_the_most_urgent_call_goes_first() -> None:
    world = World(HEXGEN, SMALL)
    running = arrive(world, "running", deadline=50.0)
    relaxed = arrive(world, "relaxed", deadline=100.0)
    urgent = arrive(world, "urgent", deadline=10.0)
    assert world.waiting == {relaxed, urgent}
    world.later(1.0)
    world.finish(running)
    assert urgent in world.running
    assert relaxed in world.waiting


def test_nobody_enters_before_a_more_urgent_call_that_does_not_fit() -> None:
    world = World(HEXGEN, SMALL)
    arrive(world, "running", deadline=50.0)
    large = arrive(world, "large", deadline=10.0, tokens=700)
    small = arrive(world, "small", deadline=100.0, tokens=100)
    assert world.waiting == {large, small}


def test_calls_share_an_engine_while_its_memory_and_its_batch_have_room() -> None:
    world = World(HEXGEN, {"a": spec(8192)})
    for number in range(20):
        arrive(world, f"p{number}")
    assert len(world.running) == 8192 // 550
    world = World(HEXGEN, {"a": spec(1_000_000)})
    calls = {arrive(world, f"p{number}") for number in range(257)}
    assert calls - set(world.running) == {CallId("default/p256/")}, "256 are in the engine's batch"


def test_programs_reserve_nothing_in_their_gaps_and_wait_for_their_later_calls() -> None:
    world = World(HEXGEN, SMALL)
    world.finish(world.call("p"))
    assert world.occupied() == 0
    assert not world.brain.programs[key("p")].member
    world.call("q", tokens=700)
    assert world.call("p", tokens=600, turns=2) in world.waiting


def test_a_log_under_urgency_replays() -> None:
    world = World(HEXGEN, {"a": spec(1000), "b": spec(1000)})
    for number in range(12):
        arrive(world, f"p{number}", stage=f"s{number % 3}", deadline=None if number % 2 else 40.0 - number)
    for _ in range(12):
        world.later(0.7)
        for call in list(world.running):
            world.finish(call)
    assert not world.brain.calls
    assert replay(world.log).first_difference is None
