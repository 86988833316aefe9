"""Orders for deadlines: earliest deadline, least laxity, modified due date and its challenger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from scheduler.log import replay
from scheduler.order.edf import EarliestDeadline
from scheduler.order.least_laxity import LeastLaxity
from scheduler.order.modified_due_date import ModifiedDueDate, mdd, mddc
from scheduler.policy import Choice, PolicyConfig
from tests.scheduler.parts import a_call, a_program, a_view, an_engine, arrive, live
from tests.scheduler.world import World, spec

Jobs = Sequence[tuple[int, int]]
PUBLISHED: Jobs = tuple(zip([10, 11, 10, 10, 11, 10], [15, 11, 13, 11, 12, 11], strict=True))
"""Processing times and due dates of the example in arXiv 2510.24013."""


def tardiness(jobs: Jobs, score: Callable[[int, int, int, Jobs], float]) -> int:
    """Total tardiness of the jobs on one machine, the next always being the one with the smallest score."""
    left, time, total = list(jobs), 0, 0
    while left:
        job = min(left, key=lambda job: score(job[0], job[1], time, left))
        left.remove(job)
        time += job[0]
        total += max(0, time - job[1])
    return total


def test_modified_due_dates_give_the_published_tardiness() -> None:
    assert tardiness(PUBLISHED, lambda p, d, t, left: mdd(p, d, t)) == 144


def test_the_challenger_gives_the_published_tardiness_which_is_the_least_there_is() -> None:
    def score(p: int, d: int, t: int, left: Jobs) -> float:
        sizes = [size for size, _ in left]
        return mddc(p, d, t, max(sizes), sum(sizes) / len(sizes))

    assert tardiness(sorted(PUBLISHED, key=lambda job: job[0]), score) == 141


def test_least_laxity_prefers_the_later_deadline_of_a_program_with_more_to_do() -> None:
    edf, laxity, engine = EarliestDeadline(), LeastLaxity(), an_engine()
    view = a_view(engine)
    for order in (edf, laxity):
        live(order, view, engine, [("", 2.0)], workflow="short")
        live(order, view, engine, [("", 20.0), ("", 20.0)], workflow="long")
    short = a_call(a_program("p", workflow="short"), deadline=500.0)
    long = a_call(a_program("q", workflow="long"), deadline=510.0)
    assert (edf.key(view, short), edf.key(view, long)) == (500.0, 510.0)
    assert laxity.key(view, short) == pytest.approx(500.0 - 2.0)
    assert laxity.key(view, long) == pytest.approx(510.0 - 40.0)


def two_jobs(order: ModifiedDueDate) -> tuple[float, float, float, float]:
    """Keys of a program of 2 s due in 100 s and one of 10 s due in 5 s, at once and when both are late."""
    engine = an_engine()
    view = a_view(engine)
    live(order, view, engine, [("", 2.0)], workflow="short")
    live(order, view, engine, [("", 10.0)], workflow="long")
    start = view.now = 100.0
    short = a_call(a_program("p", workflow="short"), arrived=start, deadline=start + 100.0)
    long = a_call(a_program("q", workflow="long"), arrived=start, deadline=start + 5.0)
    for call in (short, long):
        order.call_arrived(view, call)
    early = order.key(view, short) - start, order.key(view, long) - start
    view.now = start + 99.0
    return *early, order.key(view, short) - start, order.key(view, long) - start


def test_a_modified_due_date_is_the_due_date_until_that_cannot_be_kept() -> None:
    assert two_jobs(ModifiedDueDate()) == pytest.approx((100.0, 10.0, 101.0, 109.0))


def test_the_challengers_score_knows_the_sizes_of_all_that_wait() -> None:
    theta = 0.2**2 / (1 + 0.2**2)
    expected = (
        100.0 * (1 + theta) + 2 / 6,
        11.0 * 1.5 + 10 / 6,
        99.0 + 2.2 * (1 + theta) + 2 / 6,
        99.0 + 11.0 * 1.5 + 10 / 6,
    )
    assert two_jobs(ModifiedDueDate(challenger=True)) == pytest.approx(expected)


def test_a_call_that_goes_is_no_longer_among_those_that_wait() -> None:
    order, engine = ModifiedDueDate(challenger=True), an_engine()
    view = a_view(engine)
    live(order, view, engine, [("", 2.0)], workflow="short")
    live(order, view, engine, [("", 10.0)], workflow="long")
    short = a_call(a_program("p", workflow="short"), deadline=view.now + 1.0)
    long = a_call(a_program("q", workflow="long"), deadline=view.now + 1.0)
    for call in (short, long):
        order.call_arrived(view, call)
    beside = order.key(view, short)
    order.call_dispatched(view, long, engine)
    assert order.key(view, short) == pytest.approx(view.now + 2.2 * 1.5 + 1.0)
    assert order.key(view, short) > beside, "it is the longest now"


@pytest.mark.parametrize("order", ["edf", "least_laxity", "modified_due_date"])
def test_the_program_that_is_due_first_goes_first(order: str) -> None:
    world = World(policy(order), {"a": spec(1000)})
    running = arrive(world, "running")
    later = arrive(world, "later", deadline=200.0)
    sooner = arrive(world, "sooner", deadline=100.0)
    world.later(1.0)
    world.finish(running)
    assert sooner in world.running
    assert later in world.waiting


@pytest.mark.parametrize("order", ["edf", "least_laxity", "modified_due_date"])
def test_programs_without_deadlines_of_one_kind_go_in_order_of_arrival(order: str) -> None:
    world = World(policy(order), {"a": spec(1000)})
    for number in range(5):
        arrive(world, f"p{number}")
        world.later(0.1)
    while world.running:
        world.later(1.0)
        for call in list(world.running):
            world.finish(call)
    assert [dispatch.rank for dispatch in world.dispatches] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("order", ["edf", "least_laxity", "modified_due_date"])
def test_a_log_under_deadlines_replays(order: str) -> None:
    world = World(policy(order), {"a": spec(1500)})
    for turn in range(1, 5):
        for number in range(6):
            world.call(f"p{number}", tokens=200 * turn + 10 * number, turns=turn, final=turn == 4)
        while world.running:
            world.later(0.6)
            for call in list(world.running):
                world.finish(call, prompt=200 * turn)
    assert not world.brain.programs
    assert replay(world.log).first_difference is None


def policy(order: str) -> PolicyConfig:
    return PolicyConfig(
        "test",
        order=Choice(order),
        placement=Choice("least_loaded"),
        admission=Choice("memory"),
        retention=Choice("none"),
    )
