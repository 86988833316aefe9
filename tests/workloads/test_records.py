from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from workloads.program import WorkloadError
from workloads.records import (
    CallRecord,
    Spread,
    percentile,
    program_records,
    read_records,
    spread,
    summarise,
    write_records,
)


def record(
    program: str, turn: int, scheduled: float, first: float, finish: float, cached: int | None = 25
) -> CallRecord:
    return CallRecord(
        program,
        str(turn),
        turn,
        scheduled_s=scheduled,
        sent_s=scheduled + 0.5,
        first_token_s=first,
        finish_s=finish,
        prompt_tokens=100,
        cached_tokens=cached,
        output_tokens=4,
    )


RECORDS = [
    record("p", 0, 10.0, 12.0, 15.0),
    record("p", 1, 16.0, 17.0, 20.0, cached=75),
    record("q", 0, 11.0, 15.0, 41.0, cached=None),
]


def test_a_program_is_complete_from_its_arrival_to_its_last_calls_end() -> None:
    p, q = program_records(RECORDS)

    assert (p.program, p.arrival_s, p.finish_s, p.completion_s, p.calls) == ("p", 10.0, 20.0, 10.0, 2)
    assert q.completion_s == 30.0


def test_a_program_with_a_failed_call_has_no_completion() -> None:
    failed = [RECORDS[0], CallRecord("p", "1", 1, error="not sent: the limit")]
    (p,) = program_records(failed)

    assert (p.completion_s, p.error) == (None, "not sent: the limit")


def test_a_summary_tells_first_calls_from_later_ones() -> None:
    summary = summarise(RECORDS)

    assert summary.completion_s == Spread(mean=20.0, p50=20.0, p95=29.0, max=30.0)
    assert summary.ttft_first_s == Spread(mean=3.0, p50=3.0, p95=3.9, max=4.0)
    assert summary.ttft_later_s == Spread(mean=1.0, p50=1.0, p95=1.0, max=1.0)
    assert summary.ttft_s is not None
    assert summary.ttft_s.mean == pytest.approx(7 / 3)
    assert summary.makespan_s == 31.0
    assert summary.max_lag_s == 0.5


def test_the_cached_share_is_of_the_calls_that_report_it() -> None:
    assert summarise(RECORDS).cached_share == 0.5
    assert summarise(RECORDS[2:]).cached_share is None


def test_a_summary_counts_failures_and_leaves_them_out_of_completions() -> None:
    broken = CallRecord("r", "0", 0, scheduled_s=0.0, sent_s=0.0, error="HTTP 503")
    summary = summarise([*RECORDS, broken])

    assert (summary.programs, summary.programs_failed, summary.calls, summary.calls_failed) == (3, 1, 4, 1)
    assert summary.completion_s == summarise(RECORDS).completion_s


def test_a_sub_agent_is_part_of_its_parents_completion() -> None:
    kid = replace(record("kid", 0, 12.0, 13.0, 14.0), parent="p")
    summary = summarise([*RECORDS, kid])

    assert summary.programs == 2
    assert summary.completion_s == summarise(RECORDS).completion_s
    assert summary.calls == 4


def test_a_summary_of_nothing_has_no_spreads() -> None:
    summary = summarise([])

    assert (summary.programs, summary.completion_s, summary.cached_share, summary.makespan_s) == (0, None, None, 0.0)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.5), (0.95, 3.85), (1.0, 4.0)])
def test_percentiles_interpolate_linearly(share: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(value)


def test_the_spread_of_one_value_is_that_value() -> None:
    assert spread([2.0]) == Spread(2.0, 2.0, 2.0, 2.0)


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    full = replace(
        RECORDS[0], engine="a", queue_s=0.25, why="queued", error=None, stage="plan", workflow="w", parent="x"
    )
    write_records(tmp_path / "r.jsonl", [full, *RECORDS])

    assert read_records(tmp_path / "r.jsonl") == [full, *RECORDS]


def test_a_file_of_programs_is_not_taken_for_records(tmp_path: Path) -> None:
    path = tmp_path / "w.jsonl"
    path.write_text('{"schema": "agentserve.programs", "version": 1}\n')

    with pytest.raises(
        WorkloadError, match=r"this is agentserve\.programs version 1; expected agentserve\.calls version 1"
    ):
        read_records(path)
