"""The benchmark of the background tuner: its world in virtual time, and its arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentserve.config import TuneSection
from tests.benchmarks.text2sql_sim.grid import CONTEXT
from tests.benchmarks.text2sql_tuning import (
    BIN,
    HOUR,
    SCALE,
    START,
    Change,
    Course,
    Mix,
    Offline,
    Result,
    Searched,
    Served,
    shifting,
)
from workloads.generate import generate
from workloads.staged import TEXT2SQL_NATURAL, TEXT2SQL_UNIFORM


def mix(kind: str) -> Mix:
    found = {"natural": TEXT2SQL_NATURAL, "uniform": TEXT2SQL_UNIFORM}[kind]
    queries = generate(found, 3, seed=1, context_tokens=CONTEXT)
    return Mix(queries, {query.id: 60.0 for query in queries})


def test_the_mix_shifts_in_the_middle_at_a_constant_rate() -> None:
    queries = shifting([mix("natural"), mix("uniform")], hours=4.0, rate=0.05, seed=1)
    half = len(queries) // 2
    assert len({query.id for query in queries}) == 720
    assert all(query.id.startswith("text2sql_natural") for query in queries[:half])
    assert all(query.id.startswith("text2sql_uniform") for query in queries[half:])
    assert queries[half].arrival_s == pytest.approx(2 * HOUR, rel=0.15)
    assert {query.objective_s for query in queries} == {SCALE * 60.0}


def test_the_gateways_tuner_searches_and_tries_in_virtual_time(tmp_path: Path) -> None:
    queries = shifting([mix("natural")], hours=0.4, rate=0.06, seed=1)
    served = Served(queries, START, tmp_path, seed=1)
    served.run(TuneSection(objective="attainment", budget=2, seeds=2, every=1400.0, window=1400.0))
    assert [search.at for search in served.searches] == [1400.0]
    assert served.searches[0].simulations >= 4
    assert served.world.clients.done
    assert len(served.recording.read_text().splitlines()) == 1 + sum(len(query.calls) for query in queries)
    course = Course.of(served.world)
    assert course.times == [BIN / 2]
    assert 0 < course.attained[0] <= 1


def test_the_report_tells_the_optimum_and_how_far_the_tuned_policy_is_from_it() -> None:
    offline = Offline({0.0: [0.5, 0.6], 0.3: [0.9, 0.8]}, default=[0.7, 0.7], tuned=[0.88, 0.79])
    assert (offline.best, offline.worst) == (0.3, 0.0)
    course = Course([BIN / 2], [0.9])
    searches = [Searched(600.0, 36.0, 40, {"placement.balanced.alpha": 0.3}, 0.05, improved=True)]
    result = Result(
        "", 0.05, 1.0, course, course, [Change(600.0, {"placement.alpha": 0.3})], searches, {"uniform": offline}
    )
    assert "1 searches, 40 simulations, 36 s of one core in 1 h of traffic: 1.0% of a core." in result.report()
    assert "| uniform | 55.0% (0) | 70.0% | 83.5% | 85.0% (0.3) | 1.5 ± 6.4 points |" in result.report()
    assert "the mix shifts" in result.picture()
