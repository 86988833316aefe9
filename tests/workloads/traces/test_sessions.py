from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.workloads.traces.corpora import corpus
from workloads.program import Edge, Program, SharedPrefix, WorkloadError, check_workload
from workloads.traces import load


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


def read(folder: Path, *contents: object) -> list[Program]:
    programs = list(load(archive(folder, *contents)))
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
    assert prefixes == [(SharedPrefix("sessions-100-28", 128),)] * 2


def test_a_compacted_history_starts_afresh_behind_what_it_still_shares(tmp_path: Path) -> None:
    compacted = request(9.0, 300, 20, [1, 20, 21, 22])
    (program,) = read(tmp_path, session(FIRST, SECOND, compacted))

    call = program.calls[2]
    assert call.context is None
    assert call.prefix == (SharedPrefix("sessions-100-28", 64),)
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
    assert child.calls[0].prefix == (SharedPrefix("sessions-50-14", 64),)
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


def test_dropped_thinking_makes_a_prompt_a_token_longer_than_the_history(tmp_path: Path) -> None:
    (program,) = read(tmp_path, session(FIRST, SECOND | {"in": 410}))

    assert program.prompt_tokens() == {"0": 400, "1": 441}


def test_a_session_without_requests_is_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, session(), session(FIRST, name="s2"))[0].id == "s2"


@pytest.mark.parametrize(
    ("damage", "field"),
    [
        ({"in": 0}, "requests.0.n.in"),
        ({"in": 20_000_000}, "requests.0.n.in"),
        ({"t": -1.0}, "requests.0.n.t"),
        ({"api_time": -0.5}, "requests.0.n.api_time"),
        ({"hash_ids": "none"}, "requests.0.n.hash_ids"),
    ],
)
def test_a_damaged_session_is_named_with_the_field(damage: dict[str, object], field: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=rf"sessions\.tar\.xz: trace_0000\.json: {field}: "):
        read(tmp_path, session(FIRST | damage))


def test_a_damaged_session_is_left_out_and_counted_if_asked(tmp_path: Path) -> None:
    trace = load(archive(tmp_path, session(FIRST | {"in": 0}), session(FIRST, name="s2")), skip_damaged=True)

    assert [program.id for program in trace] == ["s2"]
    assert trace.skipped == 1
    assert "trace_0000.json: requests.0.n.in: " in trace.first_damage


def test_the_public_corpus_is_read_whole() -> None:
    programs = list(load(corpus("weka-claude-code/sessions.tar.xz")))
    calls = [call for program in programs for call in program.calls]

    assert sum(program.parent is None for program in programs) == 360
    assert len(calls) > 24_000
    assert any(program.parent for program in programs)
    assert {edge.tool for call in calls for edge in call.after} == {"tool", "human", "subagent"}
    assert sum(call.context is not None for call in calls) > 0.9 * len(calls)
