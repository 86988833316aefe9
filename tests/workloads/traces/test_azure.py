from __future__ import annotations

from pathlib import Path

import pytest

from tests.workloads.traces.corpora import corpus
from tests.workloads.traces.files import azure
from workloads.program import Call, Program, WorkloadError
from workloads.traces import load


def test_a_row_is_a_program_that_arrives_by_the_first_ones_clock(tmp_path: Path) -> None:
    path = azure(tmp_path / "a.csv", "2023-11-16 23:59:59.5000000,4808,10", "2023-11-17 00:00:01.0000000,3180,8")

    assert list(load(path)) == [
        Program("a-1", 0.0, (Call("0", 4808, 10),)),
        Program("a-2", 1.5, (Call("0", 3180, 8),)),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2023-11-16 18:17:04,100", "there are 2 fields; expected TIMESTAMP"),
        ("yesterday,100,5", "TIMESTAMP: 'yesterday' is no date and time"),
        ("2023-11-16 18:17:04,many,5", "ContextTokens: 'many' is no whole number"),
        ("2023-11-16 18:17:04,0,5", "new_tokens of call '0' must be between 1 and"),
        ("2023-11-16 18:17:04,5,-1", "output_tokens of call '0' must be between 1 and"),
        ("2023-11-16 18:17:02,5,1", "arrival_s of program 'a-2' must be a finite number of seconds between 0 and"),
    ],
)
def test_a_damaged_row_is_named_by_file_line_and_column(line: str, message: str, tmp_path: Path) -> None:
    path = azure(tmp_path / "a.csv", "2023-11-16 18:17:03.9799600,10,5", line)

    with pytest.raises(WorkloadError) as caught:
        list(load(path))
    assert str(caught.value).startswith(f"{path}:3: {message}")


def test_the_public_trace_is_read_whole() -> None:
    assert sum(1 for _ in load(corpus("azure-llm-2023"))) == 8819
