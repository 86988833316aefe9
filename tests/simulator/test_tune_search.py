"""The search, on made-up losses: what it finds, when it stops, and that it does not believe in luck."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random

import pytest

from scheduler.policy import PolicyConfig
from simulator.tune.bench import Job
from simulator.tune.gain import paired_gain
from simulator.tune.outcome import Outcome, Trial
from simulator.tune.plan import Plan
from simulator.tune.search import ROUND, Search
from simulator.tune.space import Parameter, knobs
from tests.scheduler.world import STEADY

START = STEADY
TTL = Parameter("retention", "fixed_ttl", "ttl")


def ttl(policy: PolicyConfig) -> float:
    return float(dict(policy.retention.params)["ttl"])


def bowl(job: Job) -> float:
    """Least at a time-to-live of 5 s. The seed shifts every setting alike."""
    return abs(math.log(ttl(job.policy) / 5.0)) + 3.0 * Random(job.seed).random()


def luck(job: Job) -> float:
    """No setting is better than another."""
    return Random(f"{job}").gauss(0.0, 0.1)


class Runs:
    """Runs made-up simulations, and remembers them."""

    def __init__(self, loss: Callable[[Job], float]) -> None:
        self.loss = loss
        self.jobs: list[Job] = []

    def __call__(self, jobs: Sequence[Job]) -> Iterator[float]:
        self.jobs += jobs
        return map(self.loss, jobs)


def search(loss: Callable[[Job], float], plan: Plan) -> tuple[Outcome, Runs]:
    runs = Runs(loss)
    return Search(START, knobs(START, 1), plan, runs).outcome(), runs


def test_it_finds_the_better_setting_and_stops_when_it_stands_apart() -> None:
    outcome, _ = search(bowl, Plan(budget=200, seeds=4))
    assert outcome.improved
    assert outcome.separated
    assert len(outcome.trials) < 200
    assert ttl(outcome.policy) == pytest.approx(5.0, rel=0.3)
    assert outcome.gain.value == pytest.approx(math.log(6) - abs(math.log(ttl(outcome.policy) / 5.0)))


def test_luck_is_not_believed() -> None:
    outcomes = [search(luck, Plan(budget=17, seeds=4, seed=100 * number))[0] for number in range(12)]
    looked_better = sum(outcome.best != START for outcome in outcomes)
    assert looked_better > 6, "the made-up noise never misled the search: the test shows nothing"
    assert sum(outcome.improved for outcome in outcomes) <= 1
    assert all(outcome.policy == START for outcome in outcomes if not outcome.improved)


def test_the_budget_counts_settings_and_the_default_is_the_first() -> None:
    seen: list[Trial] = []
    outcome = Search(START, knobs(START, 1), Plan(20, 4), Runs(luck), seen.append).outcome()
    assert tuple(seen) == outcome.trials
    assert sorted(trial.number for trial in outcome.trials) == list(range(20))
    assert outcome.trials[0].values == {}
    assert outcome.trials[0].gain.value == 0.0
    assert not outcome.separated


def test_every_setting_sees_the_same_seeds_and_the_winner_fresh_ones() -> None:
    outcome, runs = search(bowl, Plan(budget=17, seeds=4, seed=7))
    by_policy: dict[PolicyConfig, list[int]] = {}
    for job in runs.jobs:
        by_policy.setdefault(job.policy, []).append(job.seed)
    fresh = list(range(11, 19))
    assert by_policy[START] == [7, 8, 9, 10, *fresh]
    assert by_policy[outcome.best] == [7, 8, 9, 10, *fresh]
    for policy, seeds in by_policy.items():
        if policy not in (START, outcome.best):
            assert seeds in ([7, 8], [7, 8, 9, 10]), policy
    assert outcome.simulations == len(runs.jobs)


def test_settings_that_are_clearly_worse_are_dropped_after_two_seeds() -> None:
    outcome, _ = search(lambda job: 0.0 if job.policy == START else 1.0 + job.seed / 100, Plan(1 + ROUND, 8))
    assert [(trial.seeds, trial.dropped) for trial in outcome.trials[1:]] == [(2, True)] * ROUND
    assert outcome.policy == START
    assert outcome.gain.value == 0.0


def test_at_most_half_of_a_round_goes_on_each_time() -> None:
    outcome, _ = search(lambda job: -ttl(job.policy), Plan(1 + ROUND, 8))
    lengths = [trial.seeds for trial in outcome.trials[1:]]
    assert max(lengths) == 8
    assert sum(length >= 4 for length in lengths) <= ROUND / 2
    assert sum(length == 8 for length in lengths) <= ROUND / 4


def test_the_same_arguments_give_the_same_outcome() -> None:
    assert search(bowl, Plan(30, 4))[0] == search(bowl, Plan(30, 4))[0]


@pytest.mark.parametrize(("seeds", "stretches"), [(2, [2]), (3, [2, 3]), (8, [2, 4, 8]), (10, [2, 4, 8, 10])])
def test_a_race_doubles_its_seeds(seeds: int, stretches: list[int]) -> None:
    assert Plan(seeds=seeds).stretches == stretches


def test_a_gain_is_paired_by_seed() -> None:
    gain = paired_gain([1.0, 5.0, 9.0], [0.9, 4.8, 8.7])
    assert gain.value == pytest.approx(0.2)
    assert gain.low == pytest.approx(0.2 - 4.303 * 0.1 / math.sqrt(3), rel=1e-3)
    assert gain.high == pytest.approx(0.2 + 4.303 * 0.1 / math.sqrt(3), rel=1e-3)
    with pytest.raises(ValueError, match="two seeds"):
        paired_gain([1.0], [1.0])
