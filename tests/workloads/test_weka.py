from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from workloads.program import Edge, Program, SharedPrefix, WorkloadError, check_workload
from workloads.weka import Reduction, read_sessions

CORPUS = Path(__file__).parents[3] / "shared" / "traces" / "weka-claude-code" / "sessions.tar.xz"


def request(t: float, prompt: int, out: int, blocks: list[int], **fields: object) -> dict[str, object]:
    known = {"type": "n", "model": "m", "input_types": ["tool_result"], "stop": "tool_use", "api_time": 2.0}
    return {"t": t, "in": prompt, "out": out, "hash_ids": blocks, "think_time": 0.0, **known, **fields}


def subagent(end: float, duration_s: float, *requests: dict[str, object]) -> dict[str, object]:
    times = {"t": end, "duration_ms": duration_s * 1000}
    named = {"type": "subagent", "agent_id": "agent_001", "tool_tokens": 50, "system_tokens": 14}
    return {**times, **named, "requests": requests}


def session(*requests: dict[str, object], name: str = "s1") -> dict[str, object]:
    sizes = {"block_size": 64, "tool_tokens": 100, "system_tokens": 28}
    return {"id": name, "models": ["m"], "hash_id_scope": "local", "requests": requests, **sizes}


def archive(folder: Path, *contents: object) -> Path:
    path = folder / "sessions.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        for number, content in enumerate(contents):
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(f"trace_{number:04d}.json")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def read(folder: Path, *contents: object, reduction: Reduction | None = None) -> list[Program]:
    programs = list(read_sessions(archive(folder, *contents), reduction or Reduction()))
    check_workload(programs)
    return programs


FIRST = request(0.0, 400, 40, [1, 2, 3, 4, 5, 6], input_types=["text"])
SECOND = request(5.0, 540, 30, [1, 2, 3, 4, 5, 7, 8, 9])


def test_a_session_is_a_chain_whose_calls_extend_each_other(tmp_path: Path) -> None:
    third = request(100.0, 700, 0, [*range(1, 6), 7, 8, 9, 10, 11], input_types=["text"])
    (program,) = read(tmp_path, session(FIRST, SECOND, third))

    assert program.prompt_tokens() == {"0": 400, "1": 540, "2": 700}
    assert [call.context for call in program.calls] == [None, "0", "1"]
    assert [call.after for call in program.calls] == [(), (Edge("0", 3.0, "tool"),), (Edge("1", 93.0, "human"),)]
    assert [call.output_tokens for call in program.calls] == [40, 30, 1], "an empty answer becomes one token"


def test_tool_definitions_and_system_prompt_are_a_prefix_that_sessions_share(tmp_path: Path) -> None:
    programs = read(tmp_path, session(FIRST), session(FIRST, name="s2"))

    prefixes = [program.calls[0].prefix for program in programs]
    assert prefixes == [(SharedPrefix("weka-100-28", 128),)] * 2


def test_a_compacted_history_starts_afresh_behind_what_it_still_shares(tmp_path: Path) -> None:
    compacted = request(9.0, 300, 20, [1, 20, 21, 22])
    (program,) = read(tmp_path, session(FIRST, SECOND, compacted))

    call = program.calls[2]
    assert call.context is None
    assert call.prefix == (SharedPrefix("weka-100-28", 64),)
    assert program.prompt_tokens()["2"] == 300


def test_a_rewound_history_extends_the_call_it_goes_back_to(tmp_path: Path) -> None:
    rewound = request(9.0, 500, 20, [1, 2, 3, 4, 5, 6, 30])
    (program,) = read(tmp_path, session(FIRST, SECOND, request(7.0, 700, 5, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]), rewound))

    assert [call.context for call in program.calls] == [None, "0", "1", "0"]


def test_a_missing_duration_is_replaced_by_the_think_time(tmp_path: Path) -> None:
    (program,) = read(tmp_path, session(FIRST | {"api_time": None}, SECOND | {"think_time": 4.0}))

    assert program.calls[1].after == (Edge("0", 4.0, "tool"),)


def test_a_sub_agent_is_a_child_that_the_next_call_waits_for(tmp_path: Path) -> None:
    kid = subagent(60.0, 50.0, request(0.0, 200, 10, [50, 51, 52]), request(6.0, 300, 10, [50, 51, 52, 53]))
    parent, child = read(tmp_path, session(FIRST, kid, SECOND | {"t": 62.5}))

    assert (child.id, child.parent) == ("s1/agent_001", "s1")
    assert child.calls[0].after == (Edge("0", 8.0, "subagent", "s1"),), (
        "it started at 10 s, 8 s after the parent's call"
    )
    assert child.calls[0].prefix == (SharedPrefix("weka-50-14", 64),)
    assert parent.calls[1].after == (Edge("0", 0.0, "tool"), Edge("1", 44.5, "subagent", "s1/agent_001"))


def test_a_sub_agent_that_outlives_the_next_call_is_waited_for_later(tmp_path: Path) -> None:
    kid = subagent(60.0, 59.0, request(0.0, 200, 10, [50, 51, 52], api_time=58.0))
    third = request(70.0, 700, 9, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11])
    parent, _ = read(tmp_path, session(FIRST, kid, SECOND, third))

    assert parent.calls[1].after == (Edge("0", 3.0, "tool"),)
    assert parent.calls[2].after == (Edge("1", 63.0, "tool"), Edge("0", 11.0, "subagent", "s1/agent_001"))


def test_a_sub_agent_before_the_first_call_starts_with_the_program(tmp_path: Path) -> None:
    kid = subagent(2.0, 2.0, request(0.0, 200, 10, [50, 51, 52]))
    parent, child = read(tmp_path, session(kid, FIRST | {"t": 3.0}))

    assert child.calls[0].after == ()
    assert parent.calls[0].after == (Edge("0", 1.0, "subagent", "s1/agent_001"),)


def test_lengths_are_scaled_by_the_window_and_long_sessions_by_their_own_peak(tmp_path: Path) -> None:
    small = session(request(0.0, 100_000, 2_000, [1, 2, 3]))
    large = session(request(0.0, 398_000, 2_000, [1, 2, 3]), name="s2")
    programs = read(tmp_path, small, large, reduction=Reduction(context_tokens=4_000))

    assert [program.peak_tokens for program in programs] == [2_040, 4_000]


def test_a_program_ends_before_the_call_that_outgrows_the_budget(tmp_path: Path) -> None:
    dropped_thinking = request(5.0, 100_100, 90_000, [1, 2, 3, 4])
    too_long = request(200.0, 195_000, 5_000, [1, 2, 3, 4, 5])
    requests = (request(0.0, 100_000, 90_000, [1, 2, 3]), dropped_thinking, too_long)
    (program,) = read(tmp_path, session(*requests), reduction=Reduction(context_tokens=2_000))

    assert len(program.calls) == 1
    assert program.peak_tokens == 1_900


def test_calls_and_gaps_can_be_cut(tmp_path: Path) -> None:
    third = request(500.0, 700, 9, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11])
    reduction = Reduction(max_calls=2, max_gap_s=1.0, gap_scale=0.25)
    (program,) = read(tmp_path, session(FIRST, SECOND, third), reduction=reduction)
    (longer,) = read(tmp_path, session(FIRST, SECOND, third), reduction=Reduction(max_gap_s=4.0))

    assert [call.after for call in program.calls] == [(), (Edge("0", 0.75, "tool"),)]
    assert longer.calls[2].after == (Edge("1", 4.0, "tool"),)


def test_a_session_without_requests_is_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, session()) == []


def test_a_file_that_is_no_session_is_named_with_the_field(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"sessions\.tar\.xz: trace_0000\.json: requests\.0\.n\.in: "):
        read(tmp_path, session(FIRST | {"in": 0}))


def hand_made(folder: Path) -> Path:
    kid = subagent(60.0, 50.0, request(0.0, 200, 10, [50, 51, 52]), request(6.0, 300, 10, [50, 51, 52, 53]))
    return archive(folder, session(FIRST, kid, SECOND | {"t": 300.0}), session(FIRST, SECOND, name="s2"))


def corpus(_: Path) -> Path:
    return CORPUS


@pytest.mark.parametrize("make", [hand_made, corpus] if CORPUS.is_file() else [hand_made])
def test_an_archive_becomes_a_workload_that_fits_together(make: Callable[[Path], Path], tmp_path: Path) -> None:
    programs = list(read_sessions(make(tmp_path), Reduction(context_tokens=4096, max_gap_s=60.0)))
    edges = [edge for program in programs for call in program.calls for edge in call.after]

    check_workload(programs)
    assert max(program.peak_tokens for program in programs) <= 4096
    assert max(edge.gap_s for edge in edges) == 60.0
    assert {edge.tool for edge in edges} >= {"tool", "subagent"}
    assert any(program.parent for program in programs)
