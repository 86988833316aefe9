"""Conformal calibration: uniform p-values, a rate that holds, and a state that is kept."""

from __future__ import annotations

import json
import math
from collections import Counter
from random import Random
from statistics import fmean

import pytest

from scheduler.procedures.conformal import A_PROGRAM, CAPACITY, ENOUGH, Calibration, Key, Score, Shelf, bucket

KEY = Key("w", 1, "draft", "target")


def kolmogorov_smirnov(values: list[float]) -> float:
    """The probability of a distance from the uniform distribution as great as that of these values."""
    ordered, count = sorted(values), len(values)
    distance = max(max((i + 1) / count - value, value - i / count) for i, value in enumerate(ordered))
    scaled = (math.sqrt(count) + 0.12 + 0.11 / math.sqrt(count)) * distance
    return 2 * math.fsum((-1.0) ** (k - 1) * math.exp(-2 * k * k * scaled * scaled) for k in range(1, 50))


@pytest.mark.parametrize("digits", [12, 0], ids=["continuous", "with ties"])
def test_p_values_of_exchangeable_scores_are_uniform(digits: int) -> None:
    draws, calibration = Random(3), Calibration(4)
    values = [calibration.judge(KEY, round(draws.gauss(0, 2), digits), f"p{number}", 0.4).p for number in range(3000)]
    assert kolmogorov_smirnov(values) > 0.05


def test_the_test_of_uniformity_finds_p_values_that_are_not() -> None:
    draws = Random(3)
    assert kolmogorov_smirnov([draws.random() ** 1.1 for _ in range(3000)]) < 0.01


def test_the_takeover_rate_holds_although_scores_fall_all_the_time() -> None:
    draws, calibration = Random(5), Calibration(6)
    rejected = [
        calibration.judge(KEY, draws.gauss(-number / 500, 1), f"p{number}", 0.4).rejected for number in range(4000)
    ]
    for begin in range(0, 4000, 1000):
        assert sum(rejected[begin : begin + 1000]) / 1000 == pytest.approx(0.4, abs=0.03)


def test_low_scores_are_rejected_and_high_ones_are_not() -> None:
    draws, calibration = Random(7), Calibration(8)
    for number in range(300):
        calibration.judge(KEY, draws.gauss(0, 1), f"p{number}", 0.3)
    assert calibration.judge(KEY, -5.0, "low", 0.3).rejected
    assert not calibration.judge(KEY, 5.0, "high", 0.3).rejected


def test_a_toss_ignores_the_score_and_keeps_the_rate() -> None:
    calibration = Calibration(9)
    low = [calibration.toss(KEY, -100.0 + number % 2 * 200, f"p{number}", 0.4).rejected for number in range(4000)]
    assert sum(low) / 4000 == pytest.approx(0.4, abs=0.01)
    assert sum(low[::2]) / 2000 == pytest.approx(0.4, abs=0.05)


def test_a_program_gives_at_most_four_scores_and_the_oldest_make_room() -> None:
    shelf = Shelf()
    for number in range(CAPACITY * 10):
        shelf.add(Score(float(number), f"p{number // 10}"))
    assert len(shelf.scores) == CAPACITY
    assert set(Counter(score.program for score in shelf.scores).values()) == {A_PROGRAM}
    assert shelf.scores[-1].program == f"p{CAPACITY - 1}"


def test_a_score_is_not_compared_with_those_of_its_own_program() -> None:
    calibration = Calibration(10)
    for number in range(100):
        calibration.judge(KEY, float(number), f"p{number}", 0.4)
    for _ in range(A_PROGRAM):
        calibration.judge(KEY, -50.0, "mine", 0.4)
    assert calibration.p_value(KEY, -10.0, "mine") <= 1 / 101


def test_a_key_without_scores_asks_its_parent() -> None:
    calibration = Calibration(11)
    for number in range(ENOUGH):
        calibration.judge(KEY, float(number), f"p{number}", 0.4)
    assert calibration.p_value(KEY._replace(workflow="new"), -1.0, "x") <= 1 / (ENOUGH + 1)
    assert calibration.p_value(KEY._replace(workflow="new", bucket=4), 99.0, "x") > ENOUGH / (ENOUGH + 1)


def test_a_restored_calibration_decides_as_the_saved_one() -> None:
    draws, calibration = Random(12), Calibration(13)
    for number in range(200):
        calibration.judge(KEY, round(draws.gauss(0, 1), 1), f"p{number // 3}", 0.4)
    restored = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    scores = [round(draws.gauss(0, 1), 1) for _ in range(200)]
    assert [calibration.judge(KEY, score, "x", 0.4) for score in scores] == [
        restored.judge(KEY, score, "x", 0.4) for score in scores
    ]


def test_what_is_no_calibration_is_an_error() -> None:
    with pytest.raises(ValueError, match="no saved calibration"):
        Calibration.from_json({"shelves": []})


def test_turns_are_put_into_buckets_that_grow() -> None:
    assert [bucket(turn) for turn in range(9)] == [1, 2, 2, 4, 4, 4, 4, 8, 8]


def test_the_rate_holds_from_the_first_programs_on_though_their_scores_are_correlated() -> None:
    def missed(seed: int) -> float:
        calibration, draws = Calibration(seed), Random(seed)
        rejected = []
        for program in range(5):
            level = draws.gauss(0, 1)
            scores = [0.8 * level + 0.6 * draws.gauss(0, 1) for _ in range(24)]
            rejected += [calibration.judge(KEY, score, str(program), 0.4).rejected for score in scores]
        return abs(fmean(rejected) - 0.4)

    assert fmean(missed(seed) for seed in range(20)) < 0.05
