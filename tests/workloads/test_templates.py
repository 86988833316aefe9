from __future__ import annotations

import pytest

from workloads.program import Call, Edge, Program, SharedPrefix, WorkloadError
from workloads.templates import share_templates


def query(name: str, *prompts: int) -> Program:
    calls = (Call(str(number), tokens, 5, stage="revise") for number, tokens in enumerate(prompts))
    return Program(name, 0.0, tuple(calls), workflow="sql")


def test_all_prompts_of_a_stage_begin_with_one_text_of_one_length() -> None:
    first, second = share_templates([query("a", 100, 300), query("b", 200)], 0.5)

    text = SharedPrefix("sql/revise", 100)
    assert [(call.prefix, call.new_tokens) for call in (*first.calls, *second.calls)] == [
        ((SharedPrefix("sql/revise", 99),), 1),
        ((text,), 200),
        ((text,), 100),
    ]


def test_without_a_share_nothing_changes() -> None:
    programs = [query("a", 100, 300)]
    assert share_templates(programs, 0.0) == programs


def test_calls_with_a_history_a_prefix_or_no_stage_stay_as_they_are() -> None:
    calls = (
        Call("0", 100, 5),
        Call("1", 100, 5, (Edge("0"),), context="0", stage="revise"),
        Call("2", 100, 5, prefix=(SharedPrefix("system", 50),), stage="revise"),
    )
    programs = [Program("a", 0.0, calls)]
    assert share_templates(programs, 0.5) == programs


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"from 0 to 1, not 1\.5"):
        share_templates([query("a", 100)], 1.5)
