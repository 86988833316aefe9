from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.account import Account, Footprint, footprint
from scheduler.types import CallId, PrefixMark

OWNERS = st.sampled_from([CallId(name) for name in "abcd"])
TREE = {1: (1, 100), 2: (2, 50), 3: (3, 70), 4: (4, 30)}
PATHS = st.sampled_from([(1,), (1, 2), (1, 3), (1, 2, 4), ()])


def test_a_shared_prefix_counts_once() -> None:
    account = Account(1000)
    account.hold(CallId("a"), Footprint(((1, 100), (2, 50)), 10))
    account.hold(CallId("b"), Footprint(((1, 100), (3, 70)), 20))
    assert account.occupied == 100 + 50 + 70 + 10 + 20
    account.drop(CallId("a"))
    assert account.occupied == 100 + 70 + 20


def test_added_by_tells_what_holding_would_cost() -> None:
    account = Account(1000)
    account.hold(CallId("a"), Footprint(((1, 100),), 10))
    wanted = Footprint(((1, 100), (2, 50)), 5)
    assert account.added_by(wanted) == 55
    account.hold(CallId("b"), wanted)
    assert account.occupied == 110 + 55


def test_a_footprint_is_cut_at_its_marks_and_ends_in_a_private_tail() -> None:
    held = footprint((PrefixMark(7, 400), PrefixMark(8, 1000)), 0.25, 300)
    assert held == Footprint(((7, 100), (8, 150)), 50)
    assert held.tokens == 300


def test_marks_beyond_the_tokens_hold_nothing() -> None:
    assert footprint((PrefixMark(7, 400), PrefixMark(8, 4000)), 0.25, 150).tokens == 150


@given(st.lists(st.tuples(OWNERS, PATHS, st.integers(0, 500), st.booleans())))
def test_whatever_is_held_and_dropped_the_account_returns_to_zero(
    steps: list[tuple[CallId, tuple[int, ...], int, bool]],
) -> None:
    account = Account(1000)
    for owner, path, tail, drop in steps:
        if drop:
            account.drop(owner)
        else:
            account.hold(owner, Footprint(tuple(TREE[name] for name in path), tail))
        account.check_integrity()
    for name in "abcd":
        account.drop(CallId(name))
    account.check_integrity()
    assert account.occupied == 0
    assert len(account) == 0
