"""The order by deadline or latest start, and who is too late: against the formulas, and in a line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.actions import Reject, RejectReason
from scheduler.events import PolicyChanged
from scheduler.log import replay
from scheduler.order.punctual import BEHIND, Punctual
from scheduler.policy import PRESETS, Choice
from scheduler.types import Seconds
from scheduler.view import View
from tests.scheduler.parts import a_call, a_program, a_view, an_engine, arrive
from tests.scheduler.world import World, spec

ALONE = 0.28 + 1.5
"""What a call of 500 + 50 tokens takes alone on an engine nobody has measured."""
SMALL = {"a": spec(1000)}


def learned_view(ahead: Seconds) -> View:
    """Calls of stage `plan` take two seconds alone, and so many are ahead of their programs after them."""
    view = a_view(an_engine())
    call = a_call(a_program("past"), stage="plan")
    stats = view.learned.stage(call.stage_key)
    for _ in range(3):
        stats.answered(an_engine().id, 5.0, 2.0, 50)
        stats.ended(0, ahead)
    return view


def test_calls_go_by_their_deadline_or_by_when_what_is_ahead_has_to_start() -> None:
    view = learned_view(ahead=6.0)
    call = a_call(a_program("p"), stage="plan", deadline=100.0)
    assert Punctual().key(view, call) == pytest.approx(100.0)
    assert Punctual(laxity=1.0).key(view, call) == pytest.approx(100.0 - (2.0 + 6.0))


def test_a_call_is_lost_from_when_the_margin_is_not_left() -> None:
    view = learned_view(ahead=6.0)
    call = a_call(a_program("p"), stage="plan", deadline=100.0)
    assert Punctual(margin=0.5).lost_at(view, call) == pytest.approx(100.0 - 0.5 * 8.0)
    assert Punctual(margin=0.0).lost_at(view, call) == pytest.approx(100.0)


def test_lost_calls_are_behind_all_others_and_shortest_first() -> None:
    view = learned_view(ahead=6.0)
    long = a_call(a_program("long"), stage="plan", deadline=1.0)
    short = a_call(a_program("short"), deadline=1.0)
    for call in (long, short):
        call.lost = 0.0
    assert Punctual().key(view, long) == pytest.approx(BEHIND + 8.0)
    assert Punctual().key(view, short) == pytest.approx(BEHIND + ALONE)


def test_of_a_stage_nobody_has_seen_the_call_itself_is_ahead() -> None:
    call = a_call(a_program("p"), stage="new", deadline=100.0)
    assert Punctual(laxity=1.0).key(learned_view(ahead=6.0), call) == pytest.approx(100.0 - ALONE)


def test_nothing_is_ahead_of_a_program_whose_last_call_it_is() -> None:
    program = a_program("p")
    program.ending = True
    assert learned_view(ahead=6.0).ahead(a_call(program, stage="plan")) == pytest.approx(2.0)


def test_an_agent_that_says_how_many_calls_are_left_is_believed() -> None:
    program = a_program("p")
    program.remaining_calls = 5
    assert learned_view(ahead=6.0).ahead(a_call(program, stage="plan")) == pytest.approx(5 * 2.0)


def test_a_call_whose_deadline_is_lost_while_it_waits_steps_behind_one_that_came_later() -> None:
    world = World(PRESETS["text2sql"], SMALL)
    running = arrive(world, "running", deadline=50.0)
    urgent = arrive(world, "urgent", deadline=10.0)
    relaxed = arrive(world, "relaxed", deadline=100.0)
    world.later(11.0)
    world.finish(running)
    assert relaxed in world.running
    assert urgent in world.waiting


def test_a_lost_call_goes_to_an_engine_that_runs_nothing_and_beside_nobody() -> None:
    world = World(PRESETS["text2sql"], {"a": spec(4000)})
    running = arrive(world, "running", deadline=50.0)
    lost = arrive(world, "lost", deadline=0.1)
    assert lost in world.waiting, "there is room, but somebody runs who can be in time"
    in_time = arrive(world, "in time", deadline=60.0)
    assert in_time in world.running
    world.finish(running)
    assert lost in world.waiting
    world.finish(in_time)
    assert lost in world.running


def test_a_call_in_time_enters_when_the_one_before_it_that_does_not_fit_is_lost() -> None:
    world = World(PRESETS["text2sql"], SMALL)
    arrive(world, "running", deadline=50.0)
    arrive(world, "large", deadline=10.0, tokens=700)
    small = arrive(world, "small", deadline=100.0, tokens=100)
    assert small in world.waiting
    world.later(11.0)
    assert small in world.running, "nothing has ended: the alarm of the large one has rung"


def test_who_is_lost_is_judged_anew_when_another_policy_comes_into_force() -> None:
    world = World(PRESETS["hexgen"], {"a": spec(4000)})
    arrive(world, "running", deadline=50.0, tokens=3900)
    lost = arrive(world, "lost", deadline=0.1)
    world.feed(PolicyChanged(world.now, PRESETS["text2sql"]))
    assert world.brain.calls[lost].lost < world.now + 0.1
    world.feed(PolicyChanged(world.now, PRESETS["hexgen"]))
    assert world.brain.calls[lost].lost == float("inf")


def test_a_log_replays() -> None:
    world = World(PRESETS["text2sql"], {"a": spec(1000), "b": spec(1000)})
    for number in range(12):
        arrive(world, f"p{number}", stage=f"s{number % 3}", deadline=None if number % 2 else 12.0 - number)
    for _ in range(14):
        world.later(0.7)
        for call in list(world.running):
            world.finish(call)
    assert not world.brain.calls
    assert replay(world.log).first_difference is None


REFUSING = replace(PRESETS["text2sql"], order=Choice("punctual", (("serve_lost", False),)))


def test_a_call_that_is_lost_on_arrival_is_refused_where_lost_calls_are_not_served() -> None:
    world = World(REFUSING, SMALL)
    arrive(world, "lost", deadline=0.1)
    (refused,) = (action for action in world.actions if isinstance(action, Reject))
    assert refused.reason is RejectReason.TOO_LATE
    assert "0.1 s from now" in refused.detail
    assert not world.running
    assert not world.waiting


def test_a_call_that_becomes_lost_in_line_is_refused_then_and_others_go() -> None:
    world = World(REFUSING, SMALL)
    running = arrive(world, "running", deadline=50.0)
    large = arrive(world, "large", deadline=10.0, tokens=700)
    small = arrive(world, "small", deadline=100.0, tokens=100)
    assert small in world.waiting
    world.later(11.0)
    (refused,) = (action for action in world.actions if isinstance(action, Reject))
    assert refused.call == large
    assert {running, small} <= set(world.running)


def test_a_call_that_runs_when_its_deadline_is_lost_is_answered() -> None:
    world = World(REFUSING, SMALL)
    running = arrive(world, "running", deadline=5.0)
    world.later(11.0)
    assert running in world.running
