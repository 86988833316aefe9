from __future__ import annotations

from pathlib import Path

import pytest

from tests.workloads.traces.corpora import corpus
from tests.workloads.traces.files import row, write
from workloads.program import Call, Edge, Program, SharedPrefix, WorkloadError
from workloads.traces import load


def test_a_row_is_a_program_of_one_call(tmp_path: Path) -> None:
    one, two = load(write(tmp_path / "t.jsonl", row(0, 100, 5, 0), row(1500, 700, 6, 1, 2)))

    assert one == Program("t-1", 0.0, (Call("0", 1, 5, prefix=(SharedPrefix("t/0", 99),)),))
    assert (two.id, two.arrival_s, two.prompt_tokens()) == ("t-2", 1.5, {"0": 700})


def test_rows_share_the_blocks_they_both_begin_with(tmp_path: Path) -> None:
    rows = [row(0, 2000, 5, 7, 8, 9, 10), row(1, 2000, 5, 7, 8, 11, 12), row(2, 1600, 5, 7, 8, 11, 13)]
    prefixes = [program.calls[0].prefix for program in load(write(tmp_path / "t.jsonl", *rows))]

    assert prefixes == [
        (SharedPrefix("t/0", 1999),),
        (SharedPrefix("t/0", 1024), SharedPrefix("t/1", 975)),
        (SharedPrefix("t/0", 1024), SharedPrefix("t/1", 512), SharedPrefix("t/2", 63)),
    ]


def test_rows_of_a_session_are_a_chain_with_delays_between(tmp_path: Path) -> None:
    rows = [
        row(500, 1000, 20, 1, 2) | {"session_id": "a"},
        {"session_id": "a", "input_length": 300, "output_length": 30, "delay": 2500.0, "hash_ids": [9]},
        row(600, 1000, 20, 1, 3) | {"session_id": "b"},
    ]
    a, b = load(write(tmp_path / "t.jsonl", *rows))

    assert (a.id, b.id, a.arrival_s) == ("a", "b", 0.5)
    assert a.prompt_tokens() == {"0": 1000, "1": 1320}
    assert a.calls[1] == Call("1", 300, 30, (Edge("0", 2.5),), context="0")
    assert b.calls[0].prefix[0] == SharedPrefix("t/0", 512)


def test_a_row_without_hashes_shares_nothing(tmp_path: Path) -> None:
    (program,) = load(write(tmp_path / "t.jsonl", {"timestamp": 0, "input_length": 10, "output_length": 5}))

    assert program.calls == (Call("0", 10, 5),)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (row(-1, 10, 5), "timestamp: "),
        (row(0, 0, 5), "input_length: "),
        (row(0, 10, 0), "output_length: "),
        (row(0, 20_000_000, 5), "input_length: "),
        (row(0, 10, 5, -3), "hash_ids.0: "),
        (row(0, 10, 5) | {"timestamp": "noon"}, "timestamp: "),
        ('{"timestamp": 0, "input_le\n', "line: Invalid JSON"),
    ],
)
def test_a_damaged_row_is_named_by_file_line_and_field(damaged: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", row(0, 10, 5), damaged, row(2, 10, 5))

    with pytest.raises(WorkloadError) as caught:
        list(load(path))
    assert str(caught.value).startswith(f"{path}:2: {message}")
    trace = load(path, skip_damaged=True)
    assert [program.id for program in trace] == ["t-1", "t-3"]
    assert (trace.skipped, trace.first_damage) == (1, str(caught.value))


def test_rows_of_a_session_apart_from_each_other_are_an_error(tmp_path: Path) -> None:
    rows = [row(0, 10, 5) | {"session_id": name} for name in ("a", "b", "a")]

    with pytest.raises(WorkloadError, match="program 'a' is there twice; keep its lines together"):
        list(load(write(tmp_path / "t.jsonl", *rows)))


def test_the_mooncake_trace_keeps_lengths_and_shares_prefixes() -> None:
    programs = list(load(corpus("mooncake-fast25")))

    assert len(programs) == 3993
    assert max(program.peak_tokens for program in programs) > 100_000
    assert sum(len(program.calls[0].prefix) > 1 for program in programs) > 1000


def test_the_generated_agent_sessions_are_read_whole() -> None:
    programs = list(load(corpus("aiperf-agentic/dataset.jsonl")))

    assert len(programs) == 1205
    assert sum(len(program.calls) for program in programs) == 14_056
