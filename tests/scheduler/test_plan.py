"""Workflows as they are declared: what is expected after a call before traffic has taught it, and beside that."""

from __future__ import annotations

import pytest

from scheduler.events import WorkflowDeclared
from scheduler.log import replay
from scheduler.order.punctual import Punctual
from scheduler.order.urgency import Urgency
from scheduler.plan import Plan, PlannedStage
from scheduler.policy import PRESETS
from scheduler.types import Seconds
from scheduler.view import View
from tests.scheduler.parts import a_call, a_program, a_view, an_engine, arrive, live
from tests.scheduler.world import World, spec

STAGES = (
    PlannedStage("find"),
    PlannedStage("keywords"),
    PlannedStage("draft", ("find", "keywords"), parallel=3),
    PlannedStage("revise", ("draft",), retries=2),
    PlannedStage("select", ("revise",)),
)
REVISE = 1 + 0.5 + 0.25
"""Calls of `revise`: one, and up to two more, each as likely as not."""
ALONE = 0.28 + 1.5
"""What a call of 500 + 50 tokens takes alone on an engine nobody has measured."""


def same(_: str) -> Seconds:
    return 2.0


def declared_view() -> View:
    view = a_view(an_engine())
    view.plans = {"sql": Plan(STAGES)}
    return view


def test_stages_side_by_side_are_one_link_of_the_chain_and_all_of_the_sum() -> None:
    plan = Plan(STAGES)
    assert plan.ahead("find", 0, same) == pytest.approx(2.0 * (1 + REVISE + 1)), "draft, revise, select"
    assert plan.rest("find", 0, same) == pytest.approx(2.0 * (3 + REVISE + 1)), "the three drafts one by one"
    assert plan.rest("draft", 0, same) == pytest.approx(2.0 * (2 + REVISE + 1)), "its two siblings"


def test_the_longest_of_two_branches_is_ahead_and_what_they_join_in_counts_once() -> None:
    plan = Plan(
        [
            PlannedStage("start"),
            PlannedStage("long", ("start",)),
            PlannedStage("short", ("start",)),
            PlannedStage("end", ("long", "short")),
        ]
    )
    times = {"start": 1.0, "long": 10.0, "short": 2.0, "end": 5.0}
    assert plan.ahead("start", 0, times.__getitem__) == pytest.approx(15.0)
    assert plan.rest("start", 0, times.__getitem__) == pytest.approx(17.0)


@pytest.mark.parametrize(("number", "further"), [(0, 0.75), (1, 0.5), (2, 0.0), (9, 0.0)])
def test_the_more_retries_have_been_made_the_fewer_are_expected(number: int, further: float) -> None:
    assert Plan(STAGES).ahead("revise", number, same) == pytest.approx(2.0 * further + 2.0)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((PlannedStage("a", ("b",)), PlannedStage("b", ("a",))), "in a cycle"),
        ((PlannedStage("a", ("b",)),), r"'a' comes after 'b', which is no stage \(stages: a\)"),
    ],
)
def test_a_cycle_and_an_unknown_stage_are_refused(stages: tuple[PlannedStage, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(stages)


def test_before_any_traffic_what_is_ahead_is_what_is_declared() -> None:
    view = declared_view()
    call = a_call(a_program("p", workflow="sql"), stage="find", deadline=100.0)
    assert view.ahead(call) == pytest.approx(ALONE * (1 + 1 + REVISE + 1))
    assert Punctual(margin=1.0).lost_at(view, call) == pytest.approx(100.0 - ALONE * (3 + REVISE))


@pytest.mark.parametrize(("workflow", "stage"), [("other", "find"), ("sql", "unheard")])
def test_of_what_is_not_declared_the_call_itself_is_all_that_is_known(workflow: str, stage: str) -> None:
    call = a_call(a_program("p", workflow=workflow), stage=stage)
    assert declared_view().ahead(call) == pytest.approx(ALONE)


def test_a_stage_whose_calls_are_known_counts_as_they_are() -> None:
    view = declared_view()
    call = a_call(a_program("p", workflow="sql"), stage="revise")
    select = view.learned.stage((call.program.key.tenant, "sql", "select"))
    for _ in range(3):
        select.answered(an_engine().id, 9.0, 7.0, 50)
    assert view.ahead(call) == pytest.approx(ALONE * (1 + 0.75) + 7.0)


def test_what_is_declared_counts_as_three_programs_beside_what_was_learned() -> None:
    view = declared_view()
    call = a_call(a_program("p", workflow="sql"), stage="select")
    stats = view.learned.stage(call.stage_key)
    for _ in range(9):
        stats.answered(an_engine().id, 9.0, 7.0, 50)
        stats.ended(0, 20.0)
    assert view.ahead(call) == pytest.approx(7.0 + (9 * 20.0 + 3 * 0.0) / 12)


def test_before_any_traffic_the_budget_of_a_stage_is_its_share_of_what_is_declared() -> None:
    view, order = declared_view(), Urgency()
    call = a_call(a_program("p", workflow="sql"), stage="find", deadline=90.0)
    order.call_arrived(view, call)
    assert order.budget(view, call) == pytest.approx(90.0 / (1 + 3 + REVISE + 1))
    live(order, view, an_engine(), [("find", 5.0), ("select", 5.0)], workflow="sql", times=9)
    learned, declared = 5.0, 5.0 * (3 + REVISE + 1)
    assert order.times.after(view, call) == pytest.approx((9 * learned + 3 * declared) / 12)


def test_a_log_with_a_declared_workflow_replays() -> None:
    world = World(PRESETS["text2sql"], {"a": spec(1000)})
    world.feed(WorkflowDeclared(world.now, "", STAGES))
    for number in range(6):
        arrive(world, f"p{number}", stage=STAGES[number % 5].name, deadline=20.0 - 2 * number)
    for _ in range(14):
        world.later(0.7)
        for call in list(world.running):
            world.finish(call)
    assert not world.brain.calls
    assert replay(world.log).first_difference is None
