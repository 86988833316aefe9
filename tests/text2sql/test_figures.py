"""Figures, and the arithmetic of the benchmark's report."""

from __future__ import annotations

import pytest

from agentserve.text2sql.arms import BASELINE, OURS
from agentserve.text2sql.comparison import Pace
from agentserve.text2sql.engines import FAST, SLOW
from agentserve.text2sql.figures import attainment, figures, ratio
from tests.benchmarks.text2sql_real import RUNS, Run, plan, report
from workloads.text2sql.agent import StageCall
from workloads.text2sql.load import Played
from workloads.text2sql.prompts import Stage


def played(seconds: float, engine: str = FAST, **fields: object) -> Played:
    call = StageCall(Stage.SELECT, 1.0, 1.0 + seconds / 2, 100, 25, 4, engine, 0.5)
    return Played(**{"question": "q", "arrived": 1.0, "ended": 1.0 + seconds, "calls": (call,), **fields})  # type: ignore[arg-type]


def test_a_question_that_failed_is_not_in_time_and_has_no_latency() -> None:
    found = [played(2.0, correct=True), played(8.0, SLOW, revisions=3), played(1.0, calls=(), error="gone")]
    assert attainment(found, slo=5.0) == pytest.approx(1 / 3)
    table = figures(found, slo=5.0)
    rows = {figure.name: figure.value for figure in table}
    assert [str(figure) for figure in table[3:6]] == ["8.00", "33 %", "1"]
    assert rows["latency, mean (s)"] == rows["latency, P50 (s)"] == 5.0
    assert rows["answered within 5 s"] == rows["execution accuracy"] == pytest.approx(1 / 3)
    assert (rows["failed questions"], rows["revisions a question"], rows["calls on the slow engine"]) == (1, 1.5, 0.5)
    assert (rows["prompt tokens cached"], rows["prompt tokens that are templates"]) == (0.25, 0.5)
    assert rows["  select (s a call)"] == 2.5
    assert rows["  revise (s a call)"] is None


def test_a_table_has_the_same_rows_even_if_nothing_was_answered() -> None:
    none = figures([], 5.0)
    assert [figure.name for figure in none] == [figure.name for figure in figures([played(1.0)], 5.0)]
    assert str(none[0]) == "-"
    assert ratio(none[0], none[0]) == ""


def test_sides_take_turns_at_being_first() -> None:
    first, second = BASELINE.name, OURS.name
    assert list(plan(2)) == [(0, first), (0, second), (1, second), (1, first)]


def test_the_report_compares_repetitions_that_both_sides_have_ended() -> None:
    pace = Pace(2.0, 0.5)
    runs = [
        Run(number, name, pace, 0.5, 10.0, 0.4, (played(scale * seconds), played(2 * scale * seconds)))
        for number, seconds in enumerate((4.0, 6.0, 5.0))
        for name, scale in ((BASELINE.name, 3.0), (OURS.name, 1.0))
    ]
    text = report(runs[:5])
    assert text.startswith("2 repetitions of 2 questions")
    assert "| latency, mean (s) | 22.50 | 7.50 | 3.00 [3.00, 3.00] |" in text
    assert f"Revisions under {OURS.name}: 4 x 0" in text
    assert report(runs[:1]) == "No repetition has ended on both sides.\n"


def test_runs_are_read_as_they_were_written() -> None:
    run = Run(0, OURS.name, Pace(2.0, 0.5), 0.5, 10.0, 0.4, (played(3.0, SLOW),))
    assert RUNS.item(RUNS.line(run)) == run
