"""Votes, and when they are decided."""

from __future__ import annotations

import pytest

from scheduler.procedures.voting import Ballot, confidence_floor, is_certain, leader_wins


def ballot(*answers: str) -> Ballot:
    votes = Ballot()
    for number, answer in enumerate(answers):
        votes.cast(number, answer)
    return votes


@pytest.mark.parametrize(("first", "second", "expected"), [(1, 0, 0.75), (4, 0, 1 - 1 / 32), (3, 3, 0.5)])
def test_the_leader_wins_with_the_posterior_probability(first: int, second: int, expected: float) -> None:
    assert leader_wins(first, second) == pytest.approx(expected)


def test_the_runner_up_counts_and_not_all_others_together() -> None:
    assert ballot("a", "a", "a", "a", "b", "c", "d").certainty == leader_wins(4, 1)


def test_samples_without_an_answer_do_not_vote() -> None:
    votes = ballot("", "a", "")
    assert (votes.voters, votes.leader(), votes.author("a")) == (1, "a", 1)
    assert ballot("").leader() == ""
    assert ballot().certainty == 0.5


def test_a_lead_that_cannot_be_caught_is_settled() -> None:
    assert ballot("a", "a", "b").settled(0)
    assert not ballot("a", "a", "b").settled(1)


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
