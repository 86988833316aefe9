from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workloads.traces.corpora import corpus
from tests.workloads.traces.files import Fields, document
from workloads.program import Edge, WorkloadError
from workloads.traces import load

BEGIN = 1_700_000_000


def span(name: str, start: float, end: float, *messages: str, answer: str = "", **fields: object) -> Fields:
    """A call; messages are those of a user and of the model in turn."""
    roles = [("user", "assistant")[place % 2] for place in range(len(messages))]
    asked = [{"role": role, "content": text} for role, text in zip(roles, messages, strict=True)]
    attributes: Fields = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.output.text": answer,
        "gen_ai.usage.input_tokens": 100 * len(messages),
        "gen_ai.usage.output_tokens": 10,
    }
    times = {"start_time": f"2026-01-01T00:00:{start:09.6f}", "end_time": f"2026-01-01T00:00:{end:09.6f}"}
    return {"trace_id": "t", "span_id": name, "parent_span_id": None, "attributes": attributes, **times, **fields}


def spans(folder: Path, *items: Fields) -> Path:
    return document(folder / "otel.json", {"trace_id": "t", "spans": list(items)})


def test_a_conversation_is_a_chain(tmp_path: Path) -> None:
    first = span("a", 0, 2, "q", answer="one")
    (program,) = load(spans(tmp_path, first, span("b", 3, 4, "q", "one", "more", answer="two")))

    assert program.id == "otel:t"
    assert program.prompt_tokens() == {"0": 100, "1": 300}
    assert (program.calls[1].context, program.calls[1].after) == ("0", (Edge("0", 1.0),))


def test_parallel_calls_wait_for_one_and_their_join_for_all(tmp_path: Path) -> None:
    root = span("plan", 0, 2, "plan", answer="the plan")
    arms = [span(name, 2.5, end, "x", "the plan", name, answer=name * 3) for name, end in (("b", 4), ("c", 5))]
    join = span("join", 5.5, 6, "x", "bbb", "y", "ccc")
    (program,) = load(spans(tmp_path, join, root, *arms))

    assert [call.after for call in program.calls] == [
        (),
        (Edge("0", 0.5),),
        (Edge("0", 0.5),),
        (Edge("1", 0.5), Edge("2", 0.5)),
    ]


def test_a_span_below_a_call_waits_for_it_and_a_tool_names_the_gap(tmp_path: Path) -> None:
    tool = span("tool", 2.1, 2.9) | {
        "attributes": {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "bash"},
        "parent_span_id": "a",
    }
    (program,) = load(spans(tmp_path, span("a", 0, 2, "q"), tool, span("b", 3, 4, "other", parent_span_id="tool")))

    assert program.calls[1].after == (Edge("0", 1.0, "bash"),)


def test_without_usage_four_bytes_are_a_token(tmp_path: Path) -> None:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": [{"role": "user", "content": "x" * 40}]}
    (program,) = load(spans(tmp_path, span("a", 0, 1) | {"attributes": attributes}))

    assert (program.prompt_tokens()["0"], program.calls[0].output_tokens) == (10, 1)


def test_messages_without_content_are_no_error(tmp_path: Path) -> None:
    (program,) = load(spans(tmp_path, span("a", 0, 1, "", ""), span("b", 2, 3, "", "", "q")))

    assert [len(call.prefix) for call in program.calls] == [0, 1]


def test_an_otlp_export_is_read_too(tmp_path: Path) -> None:
    values = [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "120"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 7}},
    ]
    times = {"startTimeUnixNano": f"{BEGIN}000000000", "endTimeUnixNano": f"{BEGIN + 1}000000000"}
    item = {"traceId": "t", "spanId": "a", "name": "chat", "attributes": values, **times}
    (program,) = load(document(tmp_path / "o.json", {"resourceSpans": [{"scopeSpans": [{"spans": [item]}]}]}))

    assert (program.prompt_tokens(), program.calls[0].output_tokens) == ({"0": 120}, 7)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (span("a", 3, 2, "q"), "end_time: span 'a' ends before it starts"),
        (span("a", 0, 1, "q", parent_span_id="ghost"), "parent_span_id: span 'a' names 'ghost', which does not exist"),
        (span("a", 0, 1, "q", parent_span_id="a"), "parent_span_id: span 'a' hangs below itself"),
        (span("a", 0, 1, "q", start_time="noon"), "start_time: 'noon' of span 'a' is no time"),
        (span("a", 0, 1, "q", end_time=10**21), "end_time: 1000000000000000000000 of span 'a' is not between 1970 and"),
        (span("a", 0, 1, "q", end_time="9" * 400), "end_time: '9999"),
        (span("a", 0, 1, "q", start_time="1969-01-01"), "start_time: '1969-01-01' of span 'a' is not between 1970 and"),
        (span("a", 0, 1), "gen_ai.usage.input_tokens: 0 of span 'a' is no number of tokens above 0"),
        ({"trace_id": "t"}, "spans.0.span_id: Field required"),
    ],
)
def test_a_damaged_span_is_named_with_its_field(damaged: Fields, message: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError) as caught:
        list(load(spans(tmp_path, damaged)))
    assert f"otel.json: {message}" in str(caught.value)


def test_the_public_graphs_are_read_whole() -> None:
    programs = list(load(corpus("otel-dag")))
    turns = [max(program.turns().values()) for program in programs]

    assert sum(len(program.calls) for program in programs) == 73
    assert any(deepest + 1 < len(program.calls) for deepest, program in zip(turns, programs, strict=True)), "no fan-out"
