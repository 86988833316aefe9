"""The figures of a replay, and what bounds allow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentserve.validation.outcome import Bound, ReplayFailedError, outcome
from simulator.intervals import Interval, interval
from tests.validation.sides import record

RECORDS = [
    record("a", 0, 0.0, 1.0, 3.0, held=0.5),
    record("a", 1, 5.0, 5.5, 10.0, held=0.0),
    record("b", 0, 2.0, 4.0, 6.0, held=1.5),
]


def test_the_figures_are_those_that_the_client_saw() -> None:
    found = outcome(RECORDS)
    assert found.mean_completion == pytest.approx(7.0)  # 10 s and 4 s
    assert found.mean_ttft == pytest.approx(3.5 / 3)
    assert (found.first_ttft, found.later_ttft) == pytest.approx((1.5, 0.5))
    assert (found.first_hold, found.later_hold) == pytest.approx((1.0, 0.0))
    assert found.cached_share == pytest.approx(80 / 300)
    assert found.makespan == pytest.approx(10.0)


def test_what_nothing_tells_is_none() -> None:
    found = outcome([record("a", 0, 0.0, 1.0, 3.0)])
    assert (found.later_ttft, found.first_hold, found.later_hold) == (None, None, None)


def test_a_replay_with_failed_calls_has_no_figures() -> None:
    failed = replace(RECORDS[1], finish_s=None, error="HTTP 500: broken")
    with pytest.raises(ReplayFailedError, match=r"1 of 3 calls failed, the first with: HTTP 500: broken"):
        outcome([RECORDS[0], failed, RECORDS[2]])
    with pytest.raises(ReplayFailedError, match="there are no calls"):
        outcome([])


def test_an_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == pytest.approx(2.0)
    assert found.half == pytest.approx(4.3027 / 3**0.5, rel=1e-3)
    assert interval([5.0]) == Interval(5.0)


@pytest.mark.parametrize(
    ("half", "allowed"),
    [(None, 1.0), (0.5, 1.0), (1.2, 1.2), (9.0, 1.6)],
    ids=["a single run", "a narrow interval", "a wide interval", "one too wide"],
)
def test_a_wide_interval_excuses_up_to_a_limit(half: float | None, allowed: float) -> None:
    assert Bound(0.05, 0.08).allowed(Interval(20.0, half)) == pytest.approx(allowed)


def test_shares_are_bounded_by_differences() -> None:
    assert Bound(0.02, 0.02, absolute=True).allowed(Interval(0.5, 0.1)) == pytest.approx(0.02)
    assert Bound(0.02, 0.02, absolute=True).scaled(2).allowed(Interval(0.5)) == pytest.approx(0.04)
