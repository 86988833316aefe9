from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.rollouts.staleness import Bound, Submitted


def test_without_a_lag_only_one_batch_is_submitted_a_version() -> None:
    submitted = Submitted(Bound(batch=8, lag=0))
    submitted.submit(8, version=0)
    assert submitted.refuses(1, version=0)
    assert submitted.lag(1, version=0) == 1
    assert not submitted.refuses(8, version=1)
    assert submitted.refuses(9, version=1)


@pytest.mark.parametrize("first", [0, 500])
def test_a_run_may_begin_at_any_version(first: int) -> None:
    submitted = Submitted(Bound(batch=4, lag=2))
    assert not submitted.refuses(12, first)
    submitted.submit(12, first)
    assert submitted.refuses(1, first)
    assert not submitted.refuses(4, first + 1)


def test_samples_that_are_not_trained_on_make_room() -> None:
    submitted = Submitted(Bound(batch=4, lag=0))
    submitted.submit(4, 0)
    submitted.take_back(2)
    assert not submitted.refuses(2, 0)
    assert submitted.refuses(3, 0)


def test_without_a_bound_nothing_is_too_stale() -> None:
    submitted = Submitted(None)
    submitted.submit(10**6, 0)
    assert not submitted.refuses(10**6, 0)
    assert not submitted.outdated(0, 100)


def test_a_group_that_no_version_makes_room_for_is_told_apart() -> None:
    assert Submitted(Bound(batch=4, lag=1)).most == 8
    assert Submitted(None).most == float("inf")


@given(st.integers(1, 20), st.integers(0, 4), st.lists(st.integers(1, 40), max_size=30))
def test_what_is_admitted_is_trained_on_within_the_lag(batch: int, lag: int, groups: list[int]) -> None:
    """The trainer takes samples in their order, and makes a version whenever nothing more is admitted."""
    submitted, version = Submitted(Bound(batch, lag)), 0
    for asked in groups:
        samples = min(asked, batch * (lag + 1))
        while submitted.refuses(samples, version):
            version += 1
        submitted.submit(samples, version)
        trained_at = (submitted.samples - 1) // batch
        assert trained_at - version <= lag
