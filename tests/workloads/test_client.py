from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from tests.workloads.mock_server import MockServer, Seen, event, full_answer, serve, token
from workloads.client import ReplayEvent, ReplayStep, replay
from workloads.program import Call, Edge, Program, WorkloadError
from workloads.records import CallRecord
from workloads.request import Extra


@pytest.fixture
async def mock() -> AsyncIterator[MockServer]:
    async with serve() as server:
        yield server


def chain(name: str, calls: int = 3, arrival_s: float = 0.0, gap_s: float = 0.0) -> Program:
    first = Call("0", new_tokens=30, output_tokens=3)
    later = (
        Call(str(turn), 20, 3, after=(Edge(str(turn - 1), gap_s, "bash"),), context=str(turn - 1), stage="work")
        for turn in range(1, calls)
    )
    return Program(name, arrival_s, (first, *later), workflow="test")


def by_id(records: list[CallRecord]) -> dict[str, CallRecord]:
    return {f"{record.program}:{record.call}": record for record in records}


async def test_a_program_is_replayed_with_the_models_own_answers_in_its_history(mock: MockServer) -> None:
    await replay([chain("p")], mock.url, "m")

    first, second, third = (seen.body.messages for seen in mock.seen)
    assert [message["role"] for message in third] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert second[:2] == first
    assert second[2] == {"role": "assistant", "content": " t0 t1 end"}
    assert third[:4] == second


async def test_lengths_and_sampling_are_what_the_workload_says(mock: MockServer) -> None:
    await replay([chain("p", calls=1)], mock.url, "m")
    await replay([chain("p", calls=1)], mock.url, "m", exact_lengths=False)

    exact, plain = (seen.sent for seen in mock.seen)
    assert exact["min_tokens"] == exact["max_tokens"] == 3
    assert exact["ignore_eos"] is True
    assert exact["temperature"] == 0
    assert exact["stream_options"] == {"include_usage": True}
    assert exact["seed"] == plain["seed"]
    assert set(exact) - set(plain) == {"min_tokens", "ignore_eos"}


async def test_headers_name_the_program_and_its_last_call(mock: MockServer) -> None:
    child = Program("kid", 0.0, (Call("0", 9, 1, after=(Edge("2", program="p"),)),), parent="p")
    await replay([chain("p"), child], mock.url, "m")

    ours = [{k: v for k, v in seen.headers.items() if k.startswith("x-agentserve-")} for seen in mock.seen]
    assert ours == [
        {"x-agentserve-program": "p", "x-agentserve-workflow": "test"},
        {"x-agentserve-program": "p", "x-agentserve-workflow": "test", "x-agentserve-stage": "work"},
        {
            "x-agentserve-program": "p",
            "x-agentserve-workflow": "test",
            "x-agentserve-stage": "work",
            "x-agentserve-final": "true",
        },
        {"x-agentserve-program": "kid", "x-agentserve-parent": "p", "x-agentserve-final": "true"},
    ]


async def test_without_identity_and_end_a_server_sees_plain_requests(mock: MockServer) -> None:
    await replay([chain("p")], mock.url, "m", identity=False, announce_end=False)

    assert not [name for seen in mock.seen for name in seen.headers if name.startswith("x-agentserve")]


async def test_a_hook_adds_headers_and_body_fields(mock: MockServer) -> None:
    def extra(program: Program, call: Call) -> Extra:
        return Extra({"x-trace": f"{program.id}/{call.id}"}, {"temperature": 1})

    await replay([chain("p", calls=1)], mock.url, "m", extra=extra)

    assert mock.seen[0].headers["x-trace"] == "p/0"
    assert mock.seen[0].sent["temperature"] == 1


async def test_a_gap_starts_when_the_call_before_it_ends(mock: MockServer) -> None:
    records = await replay([chain("p", gap_s=0.02)], mock.url, "m")

    for before, record in pairwise(records):
        assert before.finish_s is not None
        assert record.scheduled_s == before.finish_s + 0.02
        assert record.sent_s is not None
        assert record.sent_s >= record.scheduled_s - 1e-3


async def test_a_join_waits_for_all_its_calls_and_siblings_run_side_by_side(mock: MockServer) -> None:
    calls = (
        Call("plan", 10, 1),
        Call("left", 10, 2, after=(Edge("plan"),), context="plan"),
        Call("right", 10, 9, after=(Edge("plan"),), context="plan"),
        Call("join", 10, 1, after=(Edge("left", 0.01), Edge("right")), context="left"),
    )
    records = by_id(await replay([Program("p", 0.0, calls)], mock.url, "m"))

    left, right = records["p:left"], records["p:right"]
    assert left.finish_s is not None
    assert right.finish_s is not None
    assert left.scheduled_s == right.scheduled_s == records["p:plan"].finish_s
    assert records["p:join"].scheduled_s == max(left.finish_s + 0.01, right.finish_s)
    assert [records[f"p:{call.id}"].turn for call in calls] == [0, 1, 1, 2]


async def test_a_sub_agent_starts_after_its_parents_call_and_is_waited_for(mock: MockServer) -> None:
    parent = Program(
        "parent",
        0.0,
        (Call("0", 10, 1), Call("1", 10, 1, after=(Edge("0"), Edge("0", 0.01, program="kid")), context="0")),
    )
    kid = Program("kid", 0.0, (Call("0", 10, 1, after=(Edge("0", program="parent"),)),), parent="parent")
    records = by_id(await replay([parent, kid], mock.url, "m"))

    assert records["kid:0"].scheduled_s == records["parent:0"].finish_s
    end_s = records["kid:0"].finish_s
    assert end_s is not None
    assert records["parent:1"].scheduled_s == end_s + 0.01
    assert records["kid:0"].parent == "parent"


async def test_a_record_holds_what_the_server_reported(mock: MockServer) -> None:
    (record,) = await replay([chain("p", calls=1)], mock.url, "m")

    words = sum(len(message["content"].split()) for message in mock.seen[0].body.messages)
    assert (record.prompt_tokens, record.output_tokens, record.cached_tokens) == (words, 3, words // 2)
    assert (record.engine, record.queue_s, record.why) == ("a", 0.25, "queued")
    assert record.error is None
    assert None not in (record.scheduled_s, record.sent_s, record.first_token_s, record.finish_s)


async def test_events_tell_every_step(mock: MockServer) -> None:
    steps: list[ReplayStep] = []
    await replay([chain("p", calls=1)], mock.url, "m", on_event=lambda seen: steps.append(seen.step))

    assert steps == [
        ReplayStep.PROGRAM_STARTED,
        ReplayStep.CALL_SENT,
        ReplayStep.FIRST_TOKEN,
        ReplayStep.CALL_FINISHED,
        ReplayStep.PROGRAM_ENDED,
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "HTTP 503: no room"),
        ([token("x"), event(error={"message": "engine died"}), "data: [DONE]"], "engine died"),
        ([token("x"), token("y")], "the stream ended before the answer was finished"),
        (["data: {broken", "", ""], "Invalid JSON"),
    ],
)
async def test_a_failed_call_is_recorded_and_ends_its_program_alone(
    mock: MockServer, lines: list[str], message: str
) -> None:
    def answer(seen: Seen) -> list[str]:
        failing = seen.headers["x-agentserve-program"] == "bad" and len(seen.body.messages) > 2
        return lines if failing else full_answer(seen)

    mock.answer = answer
    records = by_id(await replay([chain("bad", calls=4), chain("good")], mock.url, "m"))

    assert records["bad:0"].error is None
    error = records["bad:1"].error
    assert error is not None
    assert message in error
    assert records["bad:2"].error == records["bad:3"].error == "not sent: a call before it failed"
    assert records["bad:2"].sent_s is None
    assert all(record.error is None for record in records.values() if record.program == "good")


async def test_a_failed_sub_agent_ends_the_program_that_waits_for_it(mock: MockServer) -> None:
    mock.answer = lambda seen: [] if seen.headers["x-agentserve-program"] == "kid" else full_answer(seen)
    parent = Program("parent", 0.0, (Call("0", 9, 1), Call("1", 9, 1, after=(Edge("0"), Edge("0", program="kid")))))
    kid = Program("kid", 0.0, (Call("0", 9, 1, after=(Edge("0", program="parent"),)),), parent="parent")
    records = by_id(await replay([parent, kid], mock.url, "m"))

    assert records["parent:1"].error == "not sent: a call before it failed"


async def test_a_server_that_is_not_there_is_an_error_of_every_program(mock: MockServer) -> None:
    records = await replay([chain("p"), chain("q")], "http://127.0.0.1:9", "m")

    first = by_id(records)["q:0"].error
    assert first is not None
    assert first.startswith("ConnectError")
    assert len(records) == 6


async def test_idle_time_is_skipped_but_counts_on_the_workloads_clock(mock: MockServer) -> None:
    programs = [chain("later", arrival_s=500_000.0), chain("first", arrival_s=3_000.0)]
    records = by_id(await replay(programs, mock.url, "m", skip_idle=True, wall_limit_s=60))

    assert all(record.error is None for record in records.values())
    assert records["first:0"].scheduled_s == 3_000.0
    assert records["later:0"].scheduled_s == 500_000.0
    sent_s = records["later:0"].sent_s
    assert sent_s is not None
    assert sent_s >= 500_000.0 - 1e-3


async def test_idle_time_is_not_skipped_while_a_program_is_active(mock: MockServer) -> None:
    programs = [chain("first"), chain("second", arrival_s=0.02)]
    started: list[str] = []

    def watch(seen: ReplayEvent) -> None:
        if seen.step is ReplayStep.CALL_SENT and (seen.program, seen.call) == ("first", "0"):
            mock.gate.clear()
        if seen.step is ReplayStep.PROGRAM_STARTED:
            started.append(seen.program)
        if seen.step is ReplayStep.PROGRAM_STARTED and seen.program == "second":
            mock.gate.set()
        if seen.step is ReplayStep.PROGRAM_ENDED:
            started.append(f"end of {seen.program}")

    await replay(programs, mock.url, "m", skip_idle=True, wall_limit_s=60, on_event=watch)
    assert started[:2] == ["first", "second"], "the second program did not start beside the first"


async def test_the_replay_ends_at_its_wall_limit_and_says_what_was_cut_off(mock: MockServer) -> None:
    mock.gate.clear()
    records = by_id(await replay([chain("p"), chain("late", arrival_s=900.0)], mock.url, "m", wall_limit_s=0.3))

    reason = "the replay's limit of 0.3 s was reached"
    assert records["p:0"].error == f"not finished: {reason}"
    assert records["p:0"].first_token_s is not None
    assert records["p:1"].error == records["late:0"].error == f"not sent: {reason}"
    assert len(records) == 6


async def test_programs_that_do_not_fit_together_are_refused_before_anything_is_sent(mock: MockServer) -> None:
    with pytest.raises(WorkloadError, match="same id"):
        await replay([chain("p"), chain("p")], mock.url, "m")
    assert not mock.seen
