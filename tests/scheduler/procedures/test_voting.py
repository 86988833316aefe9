"""Votes, and when they are decided."""

from __future__ import annotations

from math import comb

import pytest

from scheduler.procedures.voting import Ballot, confidence_floor, is_certain, leader_wins


def ballot(*answers: str) -> Ballot:
    votes = Ballot()
    for number, answer in enumerate(answers):
        votes.cast(number, answer)
    return votes


@pytest.mark.parametrize(
    ("first", "second", "left", "expected"),
    [
        (1, 0, 1, 2 / 3 + 1 / 6),  # the next is the leader's with 2/3, and a tie is won half the times
        (2, 0, 2, 1 - 0.5 / 10),  # both are the runner-up's with 1/10, and that is a tie
        (3, 3, 4, 0.5),
        (3, 1, 1, 1.0),
        (0, 0, 5, 0.5),
    ],
)
def test_the_leader_wins_with_the_predictive_probability(first: int, second: int, left: int, expected: float) -> None:
    assert leader_wins(first, second, left) == pytest.approx(expected)


@pytest.mark.parametrize(("first", "second"), [(1, 0), (4, 0), (5, 2)])
def test_with_many_to_come_it_is_the_posterior(first: int, second: int) -> None:
    coins = first + second + 1
    posterior = sum(comb(coins, heads) for heads in range(first + 1)) / 2**coins
    assert leader_wins(first, second, 4000) == pytest.approx(posterior, abs=1e-3)


def test_a_lead_that_cannot_be_caught_is_certain() -> None:
    assert leader_wins(9, 7, 0) == leader_wins(9, 4, 4) == 1.0
    assert leader_wins(9, 4, 5) < 1.0


def test_the_runner_up_counts_and_not_all_others_together() -> None:
    assert ballot("a", "a", "a", "a", "b", "c", "d").certainty(9) == leader_wins(4, 1, 9)


def test_samples_without_an_answer_do_not_vote() -> None:
    votes = ballot("", "a", "")
    assert (votes.voters, votes.leader(), votes.author("a")) == (1, "a", 1)
    assert ballot("").leader() == ""
    assert ballot().certainty(16) == 0.5


def test_equal_probes_in_a_row_are_certain() -> None:
    assert is_certain(["b", "a", "a", "a"], 3)
    assert not is_certain(["a", "a"], 3)
    assert not is_certain(["", "", ""], 3)
    assert not is_certain(["a", "b", "a"], 3)


def test_the_confidence_floor_leaves_the_worst_share_below() -> None:
    confidences = [-float(number) for number in range(10)]
    assert confidence_floor(confidences, 0.1) == -8.0
    assert confidence_floor(confidences, 0.0) == -9.0
    assert confidence_floor(confidences, 1.0) == 0.0
