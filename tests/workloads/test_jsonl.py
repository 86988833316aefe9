from __future__ import annotations

import json
from pathlib import Path

import pytest

from workloads.generate import PROFILES, Profile, generate
from workloads.jsonl import PROGRAMS, load_programs, write_programs
from workloads.program import Call, Edge, Program, Said, SharedPrefix, WorkloadError

HEADER = {"schema": "agentserve.programs", "version": 1}
CALL = {"id": "0", "new_tokens": 10, "output_tokens": 5}
PROGRAM = {"id": "p", "arrival_s": 0.0, "calls": [CALL]}


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
def test_generated_programs_come_back_as_they_were_written(profile: Profile, tmp_path: Path) -> None:
    programs = generate(profile, 20, seed=1)
    write_programs(tmp_path / "w.jsonl", programs)

    assert load_programs(tmp_path / "w.jsonl") == programs


def test_every_field_comes_back_as_it_was_written(tmp_path: Path) -> None:
    parent = Program(
        "parent",
        1.5,
        (Call("0", 1, 2, prefix=(SharedPrefix("x", 3), SharedPrefix("y", 4)), stage="plan"),),
        workflow="w",
    )
    edges = (Edge("0", 0.25, "bash", program="parent"),)
    said = Said(final=True, max_output=9, deadline_s=2.5)
    calls = Call("0", 1, 2, edges, said=Said()), Call("1", 1, 2, (Edge("0"),), context="0", said=said)
    kid = Program("kid", 1.5, calls, parent="parent")
    write_programs(tmp_path / "w.jsonl", [parent, kid])

    assert load_programs(tmp_path / "w.jsonl") == [parent, kid]


def test_programs_are_read_one_by_one(tmp_path: Path) -> None:
    programs = PROGRAMS.read(write(tmp_path / "w.jsonl", HEADER, PROGRAM, "\n", "not JSON\n"))

    assert next(programs).id == "p"
    with pytest.raises(WorkloadError, match=r"w\.jsonl:4: line: Invalid JSON"):
        next(programs)


def with_call(**fields: object) -> dict[str, object]:
    return PROGRAM | {"calls": [CALL, CALL | {"id": "1"} | fields]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "p", "arrival_s": 0}, ":2: calls: "),
        (with_call(outputs=1), ":2: calls.1.outputs: Unexpected keyword argument"),
        (with_call(new_tokens="ten"), ":2: calls.1.new_tokens: Input should be a valid integer"),
        (with_call(new_tokens=0), ":2: calls.1: new_tokens of call '1' must be between 1 and"),
        (with_call(after=[{"call": "0", "gap_s": -1}]), ":2: calls.1.after.0: gap_s of the edge from call '0' must be"),
        (with_call(after=[{"call": "9"}]), ":2: line: call '1' of program 'p' waits for '9', which does not exist"),
        (PROGRAM | {"arrival_s": True}, ":2: arrival_s: Input should be a valid number"),
    ],
)
def test_a_wrong_line_is_named_by_file_line_and_field(line: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "w.jsonl", HEADER, line)

    with pytest.raises(WorkloadError) as caught:
        load_programs(path)
    assert str(caught.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (PROGRAM, ":1: schema: "),
        (HEADER | {"version": 2}, ":1: this is agentserve.programs version 2; expected agentserve.programs version 1"),
        (HEADER | {"schema": "agentserve.calls"}, ":1: this is agentserve.calls version 1; expected"),
        ("", ":1: line: Invalid JSON"),
    ],
)
def test_a_file_of_another_kind_or_version_is_refused(first: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "w.jsonl", first)

    with pytest.raises(WorkloadError) as caught:
        load_programs(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_programs_that_do_not_fit_together_are_refused_with_the_files_name(tmp_path: Path) -> None:
    path = write(tmp_path / "w.jsonl", HEADER, PROGRAM, PROGRAM)

    with pytest.raises(WorkloadError) as caught:
        load_programs(path)
    assert str(caught.value) == f"{path}: two programs have the same id"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.jsonl"
    old = generate(PROFILES["small"], 1, seed=1)
    write_programs(path, old)

    with pytest.raises(WorkloadError, match="has no calls"):
        write_programs(path, (Program(name, 0.0, ()) for name in ("q",)))
    assert load_programs(path) == old
    assert list(tmp_path.iterdir()) == [path], "half a file was left"
