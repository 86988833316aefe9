"""The tournament's own rules: what is drawn, what counts, who is the best rival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from scheduler.policy import PRESETS
from simulator.fleet import parse_fleet
from tests.benchmarks.drawing import Workload, alone_times, draw, origin, warm
from tests.benchmarks.tournament.grid import FLEETS, LEVELS, OFFLOAD, WORKLOADS, Cell, cells
from tests.benchmarks.tournament.play import ORACLES, Game, Results
from tests.benchmarks.tournament.report import OURS, Table, finalists, report
from tests.benchmarks.tournament.score import Score, jain, play
from workloads.generate import SMALL, generate

FAMILIES = [(program,) for program in generate(SMALL, 12, 1, SMALL.window_tokens)]
SMALL_ONES = Workload("small", lambda _: FAMILIES, count=12)


def test_the_same_seed_at_another_rate_stretches_the_same_programs() -> None:
    slow, fast = (draw(SMALL_ONES, FAMILIES, rate, seed=3, warm_up=20) for rate in (0.1, 0.4))
    assert [program.id for program in slow] == [program.id for program in fast]
    assert [4 * program.arrival_s for program in fast] == pytest.approx([program.arrival_s for program in slow])
    other = draw(SMALL_ONES, FAMILIES, 0.1, seed=4, warm_up=20)
    assert [origin(program.id) for program in other] != [origin(program.id) for program in slow]


def test_programs_that_warm_up_do_not_count() -> None:
    programs = draw(SMALL_ONES, FAMILIES, 0.1, seed=3, warm_up=20)
    left_out = warm(programs, 20)
    assert len(programs) - len(left_out) == SMALL_ONES.count
    before = [program for program in programs if program.id in left_out]
    assert sum(len(program.calls) for program in before[:-1]) < 20 <= sum(len(program.calls) for program in before)


def test_bursts_come_at_the_same_rate_on_average() -> None:
    bursty = Workload("bursty", lambda _: FAMILIES, count=4000, burst=8.0)
    programs = draw(bursty, FAMILIES, 2.0, seed=1, warm_up=0)
    assert len(programs) / programs[-1].arrival_s == pytest.approx(2.0, rel=0.15)
    assert len({program.arrival_s for program in programs}) == pytest.approx(500, rel=0.15)


def test_the_covering_meets_every_fleet_and_every_level_with_every_workload() -> None:
    chosen = cells()
    assert len(chosen) <= 60
    assert {(cell.workload, cell.fleet) for cell in chosen} >= {
        (w, f) for w in WORKLOADS for f in FLEETS if f != OFFLOAD
    }
    assert {(cell.workload, cell.level) for cell in chosen} == {(w, level) for w in WORKLOADS for level in LEVELS}
    assert set(chosen) <= set(cells(whole=True))


def test_a_game_is_scored_against_each_program_alone() -> None:
    engines = parse_fleet("cpu-smollm2")
    alone = alone_times(FAMILIES, engines)
    idle, busy = (play(SMALL_ONES, FAMILIES, engines, PRESETS["vllm"], rate, 1, alone) for rate in (1e-4, 0.5))
    assert idle.slowdown_max == pytest.approx(1.0, abs=0.02)
    assert busy.slowdown > 1.2
    assert busy.mean > idle.mean
    assert idle.recomputed <= busy.recomputed


def a_score(mean: float) -> Score:
    values = {field.name: 1.0 for field in fields(Score)}
    return Score(**{**values, "mean": mean, "preemptions": 0, "pins_broken": 0, "recomputed": 0, "calls": 9})  # type: ignore[arg-type]


def scores(cell: Cell, means: dict[str, Sequence[float | None]]) -> dict[Game, Score | None]:
    return {
        Game(cell, contender, seed): None if mean is None else a_score(mean)
        for contender, values in means.items()
        for seed, mean in enumerate(values, 1)
    }


def test_the_best_rival_of_a_seed_is_chosen_on_the_other_seeds() -> None:
    cell = Cell("mix", "one", 1.0)
    table = Table(scores(cell, {OURS: [8, 8, 8], "vllm": [10, 10, 10], "lucky": [5, 20, 20]}))
    assert table.finals(cell) == {1: "vllm", 2: "lucky", 3: "lucky"}
    ratio = table.against_best(cell)
    assert ratio is not None
    assert ratio.value == pytest.approx((10 * 20 * 20 / 8**3) ** (1 / 3))


def test_a_rival_that_leaves_calls_without_an_answer_is_nobodys_best() -> None:
    cell = Cell("mix", "one", 1.0)
    table = Table(scores(cell, {OURS: [8, 8], "vllm": [10, 10], "stuck": [1, None]}))
    assert table.finals(cell) == {1: "vllm", 2: "stuck"}
    assert table.values(cell, "stuck", [2], lambda score: score.mean)[0] > 1e5


def test_later_seeds_need_only_the_best_rival_of_those_that_everybody_has_played() -> None:
    cell = Cell("mix", "one", 1.0)
    played = scores(cell, {OURS: [8, 8, 8], "vllm": [10, 10, 10], "good": [9, 9], "other": [9.5, 9.5]})
    assert finalists(played, cell, 3) == (OURS, "vllm", "good")
    assert Table(played).finals(cell) == {1: "good", 2: "good"}
    played[Game(cell, "good", 3)] = a_score(4)
    assert Table(played).finals(cell) == {1: "good", 2: "good", 3: "good"}
    assert Table(played).whole().seeds(cell, [OURS, "vllm"]) == [1, 2], "others have not met the third"
    ratio = Table(played).against_best(cell)
    assert ratio is not None
    assert ratio.value == pytest.approx((9 * 9 * 4 / 8**3) ** (1 / 3))


def test_the_bound_is_the_best_of_all_on_the_seeds_that_oracles_have_played() -> None:
    cell = Cell("mix", "one", 1.0)
    told = {name: [7.0 + number] for number, name in enumerate(ORACLES)}
    played = scores(cell, {OURS: [8, 8], "vllm": [10, 10], **told})
    assert Table(played).bound(cell) == {1: 7.0}
    assert Table(scores(cell, {OURS: [8], "vllm": [10]})).bound(cell) == {}


def test_ours_without_a_rival_makes_no_table() -> None:
    assert "mix" not in report(scores(Cell("mix", "one", 1.0), {OURS: [8]}))


def test_results_are_kept_line_by_line_and_read_again(tmp_path: Path) -> None:
    cell = Cell("mix", "one", 1.0)
    kept = Results(tmp_path / "r.jsonl")
    for game, score in scores(cell, {OURS: [8.123456], "vllm": [None]}).items():
        kept.add(game, score)
    again = Results(tmp_path / "r.jsonl")
    assert [score and round(score.mean, 9) for score in again.scores.values()] == [8.123, None]
    assert "mix / one / 1 L" in report(Results(tmp_path / "r.jsonl").scores)


def test_the_jain_index_is_1_for_equals_and_1_over_n_where_one_has_everything() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([7.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
