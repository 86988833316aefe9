"""The search for a virtual model's figures within a budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.procedures.base import Kind, ProcedureSpec
from simulator.reasoner import tuning
from simulator.reasoner.tuning import Budget, Found, NoSettingError, Traffic, Trial, is_worse, settings, tune
from simulator.reasoner.world import Pair

SPEC = ProcedureSpec(Kind.ATTS, "small", "large", strict=True)
TRAFFIC = Traffic(count=12, rate=0.02, seed=1)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "SAMPLES", (2, 6))
    monkeypatch.setattr(tuning, "SEGMENTS", (500,))
    monkeypatch.setattr(tuning, "TAKEOVERS", (0.1, 0.5))
    monkeypatch.setattr(tuning, "KEPT", 0.5)


def search(budget: Budget, spec: ProcedureSpec = SPEC) -> Found:
    return tune(spec, Pair(), budget, TRAFFIC)


def trial(*right: bool, seconds: float = 1.0, tokens: float = 1.0) -> Trial:
    return Trial(SPEC, right, seconds, tokens, tokens)


def test_a_small_budget_takes_fewer_tokens_than_a_large_one() -> None:
    large = search(Budget(tokens=1e9))
    least = min(each.tokens for each in large.finalists)
    small = search(Budget(tokens=least))
    assert small.winner.spec.samples == 2
    assert all(each.tokens <= 1e9 for each in large.finalists)


def test_what_is_not_tuned_stays_as_it_was() -> None:
    found = search(Budget(tokens=1e9)).winner.spec
    assert (found.draft, found.target, found.strict, found.decided) == ("small", "large", True, SPEC.decided)


def test_the_winner_is_measured_on_questions_that_the_search_has_not_seen() -> None:
    found = search(Budget(tokens=1e9))
    seen = {each.spec: each for each in found.finalists}
    assert found.winner.spec in seen
    assert found.winner.tokens != seen[found.winner.spec].tokens


def test_a_search_repeats_exactly_and_tells_of_every_simulation() -> None:
    count = 0

    def done() -> None:
        nonlocal count
        count += 1

    once = tune(SPEC, Pair(), Budget(seconds=1e9), TRAFFIC, done)
    assert once == search(Budget(seconds=1e9))
    assert count == tuning.simulations(SPEC)


def test_a_budget_that_nothing_keeps_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(NoSettingError, match=r"the nearest, . samples, .* takes .* s and .* tokens a question"):
        search(Budget(seconds=0.001))


def test_turns_are_enough_for_samples_of_the_same_length() -> None:
    assert {each.turns * each.segment_tokens for each in settings(SPEC)} == {7500}


def test_shorter_segments_make_more_turns_of_the_same_tokens() -> None:
    tokens = {}
    for segment in (125, 500):
        spec = replace(SPEC, segment_tokens=segment, turns=60, decided=None, certain=None, takeover=0.0)
        (found,) = tuning._tried([spec], Pair(), Traffic(20, 0.02, 1), lambda: None)
        tokens[segment] = found.tokens
    assert tokens[125] == pytest.approx(tokens[500], rel=0.25)


def test_only_what_is_worse_for_certain_is_worse() -> None:
    best = trial(*[True] * 20)
    assert is_worse(trial(*[False] * 10, *[True] * 10), best)
    assert not is_worse(trial(False, *[True] * 19), best)
    assert not is_worse(best, best)
