from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from tests.workloads.traces.corpora import FOLDER, corpus
from tests.workloads.traces.files import azure, row, write
from workloads.generate import SMALL, SWE_AGENT, generate
from workloads.jsonl import write_programs
from workloads.program import Call, Edge, Program, WorkloadError
from workloads.redraw import HUMAN
from workloads.traces import load

HEADER = {"schema": "agentserve.programs", "version": 1}
CALL = {"id": "0", "new_tokens": 10, "output_tokens": 5}
WEEKS = {"call": "0", "gap_s": 1e15}


def test_programs_in_our_own_form_come_back_as_they_were_written(tmp_path: Path) -> None:
    programs = generate(SMALL, 20, seed=1)
    write_programs(tmp_path / "w.jsonl", programs)

    assert list(load(tmp_path / "w.jsonl")) == programs


def test_a_trace_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    trace = load(write(tmp_path / "t.jsonl", *(row(at, 10, 5) for at in range(5)), "no JSON\n"))

    assert next(trace).id == "t-1"
    with pytest.raises(WorkloadError, match=r"t\.jsonl:6: line: Invalid JSON"):
        list(trace)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_packed_file_is_unpacked(pack: object, tmp_path: Path) -> None:
    assert callable(pack)
    (tmp_path / "t").write_bytes(pack(write(tmp_path / "plain", row(0, 10, 5)).read_bytes()))

    assert len(list(load(tmp_path / "t"))) == 1


def test_the_name_of_a_file_does_not_matter(tmp_path: Path) -> None:
    assert len(list(load(azure(tmp_path / "notes.json", "2023-11-16 18:17:03,10,5")))) == 1


def test_files_of_a_folder_come_one_after_the_other_and_others_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "a" / "t.jsonl", row(0, 10, 5), row(2000, 10, 5))
    write(tmp_path / "b.jsonl", row(0, 10, 5), row(1000, 10, 5))
    (tmp_path / "LICENSE").write_text("do as you like")
    trace = load(tmp_path)

    assert [(program.id, program.arrival_s) for program in trace] == [
        ("a/t-1", 0.0),
        ("a/t-2", 2.0),
        ("b-1", 2.0),
        ("b-2", 3.0),
    ]
    assert trace.ignored == [str(tmp_path / "LICENSE")]


def test_an_archive_is_read_as_a_folder(tmp_path: Path) -> None:
    content = write(tmp_path / "t.jsonl", row(0, 10, 5)).read_bytes()
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        for name in ("x.jsonl", "y.jsonl"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

    assert [program.id for program in load(tmp_path / "all.tar.gz")] == ["x-1", "y-1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "nothing in it is a trace of a known form (programs, recording, Azure LLM requests, "),
        ("hello", "nothing in it is a trace of a known form"),
        ('{"schema": "agentserve.programs", "version": 1}\n', "there are no programs in it"),
        ('{"schema": "agentserve.programs", "version": 9}\n', "1: this is agentserve.programs version 9; expected"),
    ],
)
def test_a_file_that_is_no_trace_says_what_is_known(content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t", content)

    with pytest.raises(WorkloadError) as caught:
        list(load(path))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_file_that_does_not_exist_says_so(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="missing cannot be read: No such file or directory"):
        list(load(tmp_path / "missing"))


def test_a_packed_file_that_breaks_off_says_so(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(gzip.compress(b'{"input_length": 1, "output_length": 1}\n' * 50)[:-12])

    with pytest.raises(WorkloadError, match=r"t cannot be read: Compressed file ended"):
        list(load(tmp_path / "t"))


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        ([{"id": "p", "parent": "ghost"}], "program 'p' has the parent 'ghost', which does not exist"),
        ([{"id": "p"}, {"id": "p"}], "program 'p' is there twice"),
        ([{"id": "p", "arrival_s": 2.0}, {"id": "q"}], "arrival_s: program 'q' arrives at 0 s, before the one ahead"),
        (
            [{"id": "p", "calls": [CALL | {"after": [{"call": "0", "program": "q"}]}]}, {"id": "q"}],
            "call p:0 waits for q:0, which does not exist",
        ),
        (
            [
                {"id": "p", "calls": [CALL | {"after": [{"call": "0", "program": "q"}]}]},
                {"id": "q", "parent": "p", "calls": [CALL | {"after": [{"call": "0", "program": "p"}]}]},
            ],
            "calls wait for each other: ",
        ),
    ],
)
def test_programs_that_do_not_fit_together_are_refused(
    programs: list[dict[str, object]], message: str, tmp_path: Path
) -> None:
    complete = [{"arrival_s": 0.0, "calls": [CALL]} | program for program in programs]
    path = write(tmp_path / "w.jsonl", HEADER, *complete)

    with pytest.raises(WorkloadError) as caught:
        list(load(path))
    assert f"{path}: {message}" in str(caught.value)
    assert load(path, skip_damaged=True).skipped == 0, "nothing is read before it is asked for"


def family(name: str) -> list[Program]:
    call = Call("0", 1000, 100)
    spawned = Call("0", 3000, 1000, (Edge("0", 1.0, "subagent", name),))
    return [Program(name, 0.0, (call,)), Program(f"{name}/kid", 0.0, (spawned,), parent=name)]


def test_a_limit_counts_programs_with_their_children(tmp_path: Path) -> None:
    write_programs(tmp_path / "w.jsonl", [*family("a"), *family("b")])

    assert [program.id for program in load(tmp_path / "w.jsonl", limit=1)] == ["a", "a/kid"]
    assert list(load(tmp_path / "w.jsonl", limit=0)) == []


def test_only_programs_that_exceed_the_context_are_scaled_unless_a_window_is_named(tmp_path: Path) -> None:
    write_programs(tmp_path / "w.jsonl", family("a"))

    def peaks(**options: int) -> list[int]:
        return [program.peak_tokens for program in load(tmp_path / "w.jsonl", **options)]  # type: ignore[arg-type]

    assert peaks() == [1100, 4000]
    assert peaks(context_tokens=2000) == [1100, 2000]
    assert peaks(context_tokens=2000, window_tokens=4000) == [550, 2000]


def test_a_context_that_nothing_fits_into_is_an_error(tmp_path: Path) -> None:
    write_programs(tmp_path / "w.jsonl", generate(SMALL, 1, seed=1))

    with pytest.raises(WorkloadError, match="do not fit into 5 tokens: give a larger context_tokens"):
        list(load(tmp_path / "w.jsonl", context_tokens=5))


def test_redrawn_gaps_have_the_tools_quantiles_and_depend_on_the_seed_alone(tmp_path: Path) -> None:
    write_programs(tmp_path / "w.jsonl", generate(SWE_AGENT, 300, seed=1))

    def gaps(seed: int) -> list[float]:
        programs = load(tmp_path / "w.jsonl", gaps="redrawn", seed=seed)
        return [edge.gap_s for program in programs for call in program.calls for edge in call.after]

    ordered = sorted(gaps(1))
    assert len(ordered) > 2500
    assert 0.27 < ordered[len(ordered) // 2] < 0.33
    assert 10 < ordered[int(len(ordered) * 0.9)] < 18
    assert gaps(1) == gaps(1) != gaps(2)


def test_the_gaps_of_people_and_joins_without_a_tool_are_not_redrawn(tmp_path: Path) -> None:
    first, person = Call("0", 9, 5), Call("1", 9, 5, (Edge("0", 100.0, HUMAN),))
    joined = Call("2", 9, 5, (Edge("0"), Edge("1", 4.0, "bash")))
    write_programs(tmp_path / "w.jsonl", [Program("p", 0.0, (first, person, joined))])
    (program,) = load(tmp_path / "w.jsonl", gaps="redrawn")

    assert program.calls[1] == person
    plain, tools = program.calls[2].after
    assert plain == Edge("0")
    assert tools.gap_s != 4.0


def test_every_public_trace_is_known() -> None:
    trace = load(corpus("."))
    calls = sum(len(program.calls) for program in trace)

    assert calls > 50_000
    assert all(Path(name).name.startswith(("LICENSE", "README", "manifest")) for name in trace.ignored)
    assert FOLDER.is_dir()


def test_if_all_of_it_is_damaged_the_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", row(0, 0, 5), row(1, 0, 5))

    with pytest.raises(WorkloadError, match=r"t\.jsonl: nothing is left of it: 2 damaged parts, the first at .*:1: "):
        list(load(path, skip_damaged=True))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([row(1e14, 10, 5)], ":1: timestamp: "),
        ([HEADER, {"id": "p", "arrival_s": 1e12, "calls": [CALL]}], ":2: line: arrival_s of program 'p' must be"),
        (
            [HEADER, {"id": "p", "arrival_s": 0.0, "calls": [CALL, CALL | {"id": "1", "after": [WEEKS]}]}],
            ":2: calls.1.after.0: gap_s of the edge from call '0' must be a finite number of seconds between 0 and 10,",
        ),
    ],
)
def test_absurd_times_are_named_by_file_line_and_field(content: list[object], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", *content)

    with pytest.raises(WorkloadError) as caught:
        list(load(path))
    assert str(caught.value).startswith(f"{path}{message}")
