from __future__ import annotations

from agentserve.vllm_plugin.reports import CAPACITY, Outcome, Reports


def filled(count: int) -> Reports:
    reports = Reports()
    for number in range(1, count + 1):
        reports.add("program", Outcome.APPLIED, number)
    return reports


def tokens(reports: Reports, cursor: int) -> list[int]:
    return [report.tokens for report in reports.since(cursor)]


def test_a_reader_gets_what_came_after_its_cursor() -> None:
    reports = filled(5)
    assert tokens(reports, 3) == [4, 5]
    assert tokens(reports, reports.cursor) == []


def test_a_reader_that_was_away_too_long_gets_what_the_ring_still_has() -> None:
    reports = filled(CAPACITY + 3)
    assert tokens(reports, 1) == list(range(4, CAPACITY + 4))


def test_a_cursor_from_before_a_restart_gets_everything() -> None:
    assert tokens(filled(2), 900) == [1, 2]
    assert tokens(Reports(), 900) == []


def test_totals_go_on_beyond_the_ring() -> None:
    assert filled(CAPACITY + 3).totals[Outcome.APPLIED] == CAPACITY + 3
