from __future__ import annotations

from itertools import pairwise

import pytest

from simulator.report.timeline import Phase, Row, prefill_rate, prefill_rates, rows
from simulator.result import CallResult


def call(
    program: str,
    turn: int,
    at: float,
    first: float,
    end: float,
    *,
    prompt: int = 1000,
    cached: int = 0,
    engine: str = "e",
) -> CallResult:
    return CallResult(program, str(turn), turn, "", engine, at, at, first, end, prompt, cached, 100)


def found(*calls: CallResult) -> list[Row]:
    return rows(calls, prefill_rates(calls))


def test_a_program_is_a_row_of_phases_without_holes() -> None:
    (row,) = found(call("p", 0, 0.0, 0.5, 2.0), call("p", 1, 3.0, 5.0, 6.0, prompt=1200))
    phases = [span.phase for span in row.spans]
    assert phases == [Phase.PREFILL, Phase.DECODE, Phase.GAP, Phase.WAITING, Phase.PREFILL, Phase.DECODE]
    assert all(before.end == after.start for before, after in pairwise(row.spans))
    assert (row.spans[0].start, row.spans[-1].end) == (0.0, 6.0)


def test_what_prefill_does_not_explain_of_the_first_token_is_waiting() -> None:
    calls = [call(f"fast{number}", 0, 0.0, 0.5, 1.0) for number in range(9)]
    waiting, prefill = found(*calls, call("slow", 0, 10.0, 14.5, 15.0))[-1].spans[:2]
    assert (waiting.phase, prefill.phase) == (Phase.WAITING, Phase.PREFILL)
    assert waiting.end - waiting.start == pytest.approx(4.0)
    assert prefill.end - prefill.start == pytest.approx(0.5)


@pytest.mark.parametrize(("cached", "phase"), [(1088, Phase.RETAINED), (512, Phase.GAP)])
def test_a_gap_was_retained_if_the_next_prompt_found_its_context(cached: int, phase: Phase) -> None:
    (row,) = found(call("p", 0, 0.0, 0.5, 2.0), call("p", 1, 3.0, 3.1, 4.0, prompt=1200, cached=cached))
    assert [span.phase for span in row.spans if span.phase in (Phase.RETAINED, Phase.GAP)] == [phase]


def test_there_is_no_gap_while_another_call_of_the_program_runs() -> None:
    (row,) = found(call("p", 0, 0.0, 0.5, 9.0), call("p", 0, 0.0, 0.5, 2.0), call("p", 1, 5.0, 5.5, 6.0))
    assert {span.phase for span in row.spans} == {Phase.PREFILL, Phase.DECODE}


def test_rows_stand_in_order_of_arrival() -> None:
    late, early = call("late", 0, 5.0, 5.5, 6.0), call("early", 0, 1.0, 1.5, 2.0)
    assert [row.program for row in found(late, early)] == ["early", "late"]


def test_the_prefill_rate_is_that_of_calls_that_had_something_to_prefill() -> None:
    cached = call("p", 1, 0.0, 0.01, 1.0, prompt=1000, cached=990)
    assert prefill_rate([cached, call("q", 0, 0.0, 0.5, 1.0)]) == pytest.approx(2000)


def test_every_engine_has_its_own_prefill_rate() -> None:
    slow, fast = call("p", 0, 0.0, 2.0, 3.0, engine="slow"), call("q", 0, 0.0, 0.5, 1.0, engine="fast")
    assert prefill_rates([slow, fast]) == {"slow": pytest.approx(500), "fast": pytest.approx(2000)}
