"""A new policy on trial: made-up slices of traffic, and what is made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import repeat
from random import Random

import pytest

from agentserve.gateway.tuning.trial import ENOUGH, TOO_MANY, Slice, Trial, Verdict, compare

LOADS = (0.4, 0.5, 0.7, 0.6, 0.5, 0.4, 0.6, 0.7)


def world(effect: float, noise: float = 0.0, seed: int = 0) -> Callable[[bool, float], Slice]:
    """Slices whose stretch grows with the load, and under the new policy by `effect` (a difference of logarithms)."""
    rng = Random(seed)
    return lambda new, load: Slice(new, math.exp(0.2 + 1.5 * load + effect * new + rng.gauss(0.0, noise)), load)


def tried(make: Callable[[bool, float], Slice], loads: Iterable[float] = LOADS) -> tuple[Verdict, Trial, int]:
    """Tries a policy under these loads, over and over until there is a verdict."""
    trial, passed, loads = Trial(), 0, list(loads)
    while True:
        verdict = trial.enter(make(trial.next_is_new(), loads[passed % len(loads)]))
        passed += 1
        if verdict is not Verdict.OPEN:
            return verdict, trial, passed


def test_old_and_new_alternate_so_that_a_drift_falls_on_both() -> None:
    trial = Trial()
    order = [trial.next_is_new() for _ in range(8)]
    assert order == [True, False, False, True] * 2
    assert sum(place for place, new in enumerate(order) if new) == sum(
        place for place, new in enumerate(order) if not new
    )


@pytest.mark.parametrize(("effect", "verdict"), [(-0.1, Verdict.KEEP), (0.0, Verdict.KEEP), (0.1, Verdict.REVERT)])
def test_a_loss_is_taken_back_and_what_shows_none_stays(effect: float, verdict: Verdict) -> None:
    assert tried(world(effect, noise=0.02))[0] is verdict


def test_a_verdict_takes_enough_slices() -> None:
    _, trial, passed = tried(world(-0.1, noise=0.02))
    assert passed == ENOUGH
    assert trial.difference is not None
    assert trial.difference.gain.value == pytest.approx(0.1, abs=0.05)
    assert trial.difference.gain.low < 0.1 < trial.difference.gain.high


def test_a_great_loss_is_taken_back_before_that() -> None:
    verdict, _, passed = tried(world(1.0, noise=0.02))
    assert verdict is Verdict.REVERT
    assert passed < ENOUGH


def test_more_traffic_under_the_new_policy_is_no_loss() -> None:
    unlucky = (0.8, 0.4, 0.5, 0.7, 0.75, 0.45, 0.5, 0.8)
    verdict, trial, _ = tried(world(-0.05, noise=0.01), unlucky)
    assert verdict is Verdict.KEEP
    assert trial.difference is not None
    assert trial.difference.value < 0


def test_less_traffic_under_the_new_policy_hides_no_loss() -> None:
    lucky = (0.4, 0.7, 0.8, 0.5, 0.45, 0.75, 0.7, 0.4)
    make = world(0.15, noise=0.01)
    slices = [make(new, load) for new, load in zip([True, False, False, True] * 2, lucky, strict=True)]
    new, old = ([each.stretch for each in slices if each.new is kind] for kind in (True, False))
    assert max(new) < min(old), "the loss is not hidden: the test shows nothing"
    assert tried(world(0.15, noise=0.01), lucky)[0] is Verdict.REVERT


def test_a_steady_drift_is_no_loss() -> None:
    slower = iter(range(100))

    def drifting(new: bool, load: float) -> Slice:
        return Slice(new, math.exp(0.05 * next(slower)), load)

    assert tried(drifting, [0.5])[0] is Verdict.KEEP


def test_slices_without_traffic_say_nothing() -> None:
    trial, make, verdict, passed = Trial(), world(-0.1, noise=0.02), Verdict.OPEN, 0
    while verdict is Verdict.OPEN:
        new = trial.next_is_new()
        verdict = trial.enter(make(new, 0.5) if passed % 2 else None)
        passed += 1
    assert (verdict, passed) == (Verdict.KEEP, 2 * ENOUGH)


def test_a_policy_that_cannot_be_compared_is_taken_back() -> None:
    trial = Trial()
    verdicts = [trial.enter(None) for _ in repeat(None, TOO_MANY)]
    assert verdicts == [Verdict.OPEN] * (TOO_MANY - 1) + [Verdict.REVERT]
    assert trial.difference is None


def test_traffic_under_one_policy_only_is_no_comparison() -> None:
    trial, make = Trial(), world(0.0)
    verdicts = []
    for _ in range(TOO_MANY):
        new = trial.next_is_new()
        verdicts.append(trial.enter(make(new, 0.5) if new else None))
    assert verdicts == [Verdict.OPEN] * (TOO_MANY - 1) + [Verdict.REVERT]


def test_verdicts_are_seldom_wrong() -> None:
    neutral = [tried(world(0.0, noise=0.05, seed=seed))[0] for seed in range(300)]
    worse = [tried(world(0.2, noise=0.05, seed=seed))[0] for seed in range(300)]
    better = [tried(world(-0.1, noise=0.05, seed=seed))[0] for seed in range(300)]
    assert neutral.count(Verdict.REVERT) < 0.18 * 300
    assert worse.count(Verdict.REVERT) > 0.98 * 300
    assert better.count(Verdict.KEEP) > 0.98 * 300


def test_without_noise_the_difference_is_exact() -> None:
    make = world(0.3)
    slices = [make(new, load) for new in (True, False) for load in (0.2, 0.5, 0.9)]
    difference = compare(slices)
    assert difference is not None
    assert difference.value == pytest.approx(0.3)
    assert difference.error == pytest.approx(0.0, abs=1e-6)
    assert difference.freedom == 3


def test_two_of_each_are_needed() -> None:
    make = world(0.3, noise=0.1)
    assert compare([make(True, 0.5), make(False, 0.6), make(False, 0.7)]) is None
    assert compare([make(True, 0.5), make(True, 0.6), make(False, 0.5), make(False, 0.6)]) is not None


def test_equal_loads_need_no_slope() -> None:
    difference = compare([Slice(new, stretch, 0.5) for new, stretch in [(True, 2), (True, 2), (False, 1), (False, 1)]])
    assert difference is not None
    assert difference.value == pytest.approx(math.log(2))
    assert difference.freedom == 2
