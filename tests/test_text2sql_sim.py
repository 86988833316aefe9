"""The rules of the simulated Text-to-SQL benchmark: what is played, what counts as sustained, how contenders compare."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.world import simulate
from tests.benchmarks.drawing import Workload
from tests.benchmarks.text2sql_sim.contenders import CONTENDERS, OURS
from tests.benchmarks.text2sql_sim.grid import COVERING, FLEET, GENERATED, LEVELS, PARTS, PUBLIC, SCALES, SHARES, cells
from tests.benchmarks.text2sql_sim.play import Base, Game, Results, play
from tests.benchmarks.text2sql_sim.plot import picture
from tests.benchmarks.text2sql_sim.report import report
from tests.benchmarks.text2sql_sim.score import GOAL, PRECISION, Score, bracket, next_level, score, sustained
from tests.benchmarks.text2sql_sim.table import Table
from workloads.generate import generate
from workloads.staged import TEXT2SQL_NATURAL

CELL = COVERING[0]


def searched(attainment: Callable[[float], float]) -> dict[float, float]:
    """Attainment at the loads that the search asks for."""
    known: dict[float, float] = {}
    while (level := next_level(known)) is not None:
        assert level not in known, "a load is asked for twice"
        known[level] = attainment(level)
    return known


def a_score(attained: float, p95: float = 100.0) -> Score:
    return Score(attained, 50.0, 40.0, p95, 120.0, 2.0, 0.5, 0, 1.0)


def test_the_covering_meets_every_share_with_every_objective_and_every_workload() -> None:
    assert Counter((cell.share, cell.scale) for cell in COVERING) == {(s, x): 1 for s in SHARES for x in SCALES}
    assert {cell.workload for cell in COVERING} == {*PUBLIC, *GENERATED}
    assert {(cell.share, cell.scale) for cell in PARTS} == set(zip(SHARES, (5, 3, 8), strict=True))
    assert set(COVERING) <= set(cells(whole=True))
    assert len(cells(whole=True)) == 36


@pytest.mark.parametrize("limit", [0.1, 0.39, 0.55, 0.7, 0.9, 1.2, 2.1])
def test_the_sustained_load_is_found_on_either_side_of_the_common_levels(limit: float) -> None:
    known = searched(lambda level: 1.0 if level <= limit else 0.0)
    low, high = bracket(known)
    assert low is not None
    assert high is not None
    assert low <= limit < high <= low * PRECISION
    assert low <= sustained(known) <= high
    assert set(LEVELS) <= known.keys()


def test_between_two_loads_attainment_falls_evenly_with_the_logarithm_of_the_load() -> None:
    known = {**dict.fromkeys(LEVELS, 0.0), 0.4: 1.0, 0.48: 0.9}
    assert next_level(known) is None
    assert sustained(known) == pytest.approx(math.sqrt(0.4 * 0.48))


def test_who_misses_the_goal_at_any_load_or_meets_it_at_any_ends_the_search() -> None:
    assert sustained(searched(lambda _: 0.0)) <= 0.03
    assert sustained(searched(lambda _: 1.0)) >= 4


def test_a_query_that_never_ended_is_infinitely_late() -> None:
    programs = generate(TEXT2SQL_NATURAL, 2, seed=1, context_tokens=11_000)
    simulation = simulate(programs[:1], FLEET, CONTENDERS[OURS])
    found = score(simulation, {f"{program.id}": 1e6 for program in programs}, {"": 10.0}, cpu=0.0)
    assert found.attained == 0.5
    assert found.p95 == math.inf
    assert found.rounded()["p95"] is None


def test_the_same_seed_is_the_same_queries_for_every_contender_and_a_lower_load_is_easier() -> None:
    families = [(program,) for program in generate(TEXT2SQL_NATURAL, 8, seed=1, context_tokens=11_000)]
    known = Base(families, {family[0].id: 40.0 for family in families}, capacity=0.07)
    small = Workload("small", lambda _: families, count=12)
    light, heavy = (play(Game(CELL, OURS, 1, level), known, small) for level in (0.05, 20.0))
    assert light.attained > heavy.attained
    assert light.p95 < heavy.p95
    again = play(Game(CELL, OURS, 1, 20.0), known, small)
    assert again.p95 == heavy.p95


def test_results_are_kept_line_by_line_and_read_again(tmp_path: Path) -> None:
    kept = Results(tmp_path / "r.jsonl")
    kept.add(Game(CELL, OURS, 1, 0.4), a_score(0.98, math.inf))
    kept.add(Game(CELL, OURS, 1, 0.7), None)
    again = Results(tmp_path / "r.jsonl")
    assert again.scores == kept.scores


def test_contenders_compare_on_the_seeds_that_both_have_played() -> None:
    scores: dict[Game, Score | None] = {}
    for seed, ours, theirs in ((1, 1.0, 0.5), (2, 1.2, 0.6), (3, 1.0, None)):
        for name, limit in ((OURS, ours), ("edf", theirs)):
            known = {} if limit is None else searched(lambda level, limit=limit: 1.0 if level <= limit else 0.9)  # type: ignore[misc]
            scores.update({Game(CELL, name, seed, level): a_score(share) for level, share in known.items()})
    table = Table(scores)
    ratio = table.load_ratio(CELL, OURS, "edf")
    assert table.seeds(CELL, (OURS, "edf")) == [1, 2]
    assert ratio is not None
    assert ratio.value == pytest.approx(2.0, rel=0.15)
    gain = table.gain([CELL], OURS, "edf", 0.7)
    assert gain is not None
    assert gain.mean == pytest.approx(10.0)
    assert table.gain([CELL], OURS, "fcfs", 0.7) is None
    assert GOAL > 0.9


def test_the_report_and_the_picture_show_what_has_been_played() -> None:
    known = searched(lambda level: 1.0 if level <= 0.8 else 0.5)
    scores = {
        Game(CELL, name, seed, level): a_score(share)
        for name in CONTENDERS
        for seed in (1, 2)
        for level, share in known.items()
    }
    text = report(scores)
    assert f"| {CELL} | 2 | 1.00 [1.00, 1.00]" in text
    assert "| sustained load, times | 1.00 [1.00, 1.00] |" in text
    assert "| none |" in text
    assert "alpha 0.3 | 1.00 [1.00, 1.00]" in text
    assert "Queries within their objective" in picture(scores)
    assert report({})
    assert picture({}).startswith("<svg")
