from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agentserve.gateway import recorder
from agentserve.gateway.recorder import RecordingError
from agentserve.gateway.server import run
from tests.gateway.fakes import DONE, STOP, WORDS, FakeEngine, FakeReply, delta, event, usage
from tests.gateway.world import CHAT, World, chat, configure, eventually, until_idle, world
from workloads.program import Call, Edge, Said
from workloads.traces import load
from workloads.traces.recording import RECORDING, CallStatus, RecordedCall

SESSION = {"x-agentserve-program": "p", "x-agentserve-workflow": "w", "x-agentserve-stage": "plan"}
SYSTEM = {"role": "system", "content": "You are a careful engineer. " * 10}
TOOL = delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "bash", "arguments": "{}"}}])


def reply(prompt: int, output: int, *pieces: bytes) -> FakeReply:
    tokens = event({"id": "x", "choices": [], "usage": usage(prompt, output, 8)})
    return FakeReply([*WORDS, *pieces, STOP, tokens, DONE], headers={"content-type": "text/event-stream"})


async def ask(w: World, *messages: dict[str, str], **headers: str) -> None:
    answer = await w.client.post(CHAT, json=chat(messages=list(messages), stream=True), headers=SESSION | headers)
    assert answer.status_code == 200


def lines(path: Path) -> list[RecordedCall]:
    return list(RECORDING.read(path))


async def test_a_recording_becomes_the_program_that_was_served(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "calls.jsonl"
    user = {"role": "user", "content": "Find the bug."}
    answer, result = {"role": "assistant", "content": "Hello world"}, {"role": "user", "content": "42 files"}
    async with world(record=str(path)) as w:
        w.engine.script += [reply(100, 20, TOOL), reply(150, 10)]
        await ask(w, SYSTEM, user)
        await ask(w, SYSTEM, user, answer, result)
        await until_idle(w.brain)

    (program,) = load(path)
    first, second = program.calls
    assert (program.id, program.arrival_s, program.workflow) == ("p", 0.0, "w")
    assert (sum(shared.tokens for shared in first.prefix) + first.new_tokens, first.output_tokens) == (100, 20)
    assert second == Call("1", 30, 10, second.after, context="0", stage="plan", said=Said())
    (edge,) = second.after
    assert edge == Edge("0", edge.gap_s, "bash")


async def test_what_was_measured_comes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    async with world(record=str(path)) as w:
        w.engine.script.append(reply(100, 20))
        await ask(w, SYSTEM)
        await until_idle(w.brain)

    (call,) = lines(path)
    assert (call.program, call.engine, call.why) == ("p", "a", "direct")
    assert (call.prompt_tokens, call.cached_tokens, call.output_tokens) == (100, 8, 20)
    assert None not in (call.dispatched_s, call.sent_s, call.first_token_s)
    times = [call.arrived_s, call.dispatched_s or 0.0, call.sent_s or 0.0, call.first_token_s or 0.0, call.ended_s]
    assert times == sorted(times)


async def test_what_the_client_said_is_kept_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    told = SESSION | {"x-agentserve-final": "true", "x-agentserve-deadline-ms": "1500"}
    async with world(record=str(path)) as w:
        await ask(w, SYSTEM)
        body = chat(messages=[SYSTEM], stream=True, max_tokens=77)
        assert (await w.client.post(CHAT, json=body, headers=told)).status_code == 200
        await until_idle(w.brain)

    (program,) = load(path)
    silent, outspoken = (call.said for call in program.calls)
    assert silent == Said()
    assert outspoken is not None
    assert (outspoken.final, outspoken.max_output) == (True, 77)
    assert outspoken.deadline_s == pytest.approx(1.5, abs=0.01)


async def test_no_text_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    async with world(record=str(path)) as w:
        await ask(w, SYSTEM)
        await until_idle(w.brain)

    assert b"careful" not in path.read_bytes()
    assert b"Hello" not in path.read_bytes()


async def test_prompts_that_begin_alike_share_their_beginning(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    async with world(record=str(path)) as w:
        for number in range(2):
            w.engine.script.append(reply(100 + number, 20))
            headers = {"x-agentserve-program": f"p{number}"}
            await ask(w, SYSTEM, {"role": "user", "content": f"Task {number}"}, **headers)
        await until_idle(w.brain)

    one, two = (program.calls[0].prefix for program in load(path))
    assert one[0] == two[0]
    assert one[0].tokens > 80
    assert one[1:] != two[1:]


async def test_calls_without_an_answer_are_recorded_but_are_no_part_of_programs(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    async with world(record=str(path)) as w:
        w.engine.script.append(FakeReply([b'{"error": {"message": "no"}}'], status=400))
        refused = await w.client.post(CHAT, json=chat(), headers={"x-session-id": "bad"})
        await ask(w, SYSTEM)
        await until_idle(w.brain)

    assert refused.status_code == 400
    assert [(call.program, call.status) for call in lines(path)] == [
        ("bad", CallStatus.FAILED),
        ("p", CallStatus.FINISHED),
    ]
    assert [program.id for program in load(path)] == ["p"]


async def serve_one(path: Path, program: str) -> None:
    async with world(record=str(path)) as w:
        await ask(w, SYSTEM, **{"x-agentserve-program": program})
        await until_idle(w.brain)


async def test_a_recording_is_continued_behind_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    await serve_one(path, "one")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[len(RECORDING.header) : -5])
    assert [program.id for program in load(path)] == ["one"], "half a line at the end is a killed gateway's"

    await serve_one(path, "two")
    assert [program.id for program in load(path)] == ["one", "two"]


def test_another_file_is_not_written_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("do not lose this\n")

    with caplog.at_level(logging.ERROR):
        assert run(configure([FakeEngine()], record=str(path), listen="127.0.0.1:0")) == 2
    assert f"{path} cannot be recorded to: " in caplog.text
    assert path.read_text() == "do not lose this\n"


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be recorded to: Is a directory; choose another file"):
        recorder.Recorder(tmp_path, CollectorRegistry())


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that is full as soon as a file has so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def lost(w: World) -> float | None:
    return w.driver.metrics.registry.get_sample_value("agentserve_recording_lost_total")


async def test_a_full_disk_loses_calls_but_no_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "calls.jsonl"
    async with world(record=str(path)) as w:
        with largest_file(path.stat().st_size + 100):
            for _ in range(2):
                await ask(w, SYSTEM)
                await eventually(lambda: bool(lost(w)), "the failed write")
        before = lost(w)
        await ask(w, SYSTEM, **{"x-agentserve-program": "later"})
        await until_idle(w.brain)

    assert before in (1.0, 2.0)
    assert len(lines(path)) == 3 - before, "half a line was left, or a call is missing"
    assert [record.getMessage() for record in caplog.records if "are not recorded" in record.getMessage()] == [
        f"{path}: calls are not recorded: [Errno 27] File too large"
    ]


async def test_calls_that_wait_too_long_to_be_written_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING", 0)
    path = tmp_path / "calls.jsonl"
    async with world(record=str(path)) as w:
        await ask(w, SYSTEM)
        await until_idle(w.brain)
        assert lost(w) == 1.0
    assert lines(path) == []


async def test_a_program_that_its_client_ends_has_ended_in_the_recording_too(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    async with world(record=str(path)) as w:
        await ask(w, SYSTEM)
        await until_idle(w.brain)
        assert (await w.client.delete("/agentserve/v1/programs/p")).status_code == 200

    assert [call.status for call in lines(path)] == [CallStatus.FINISHED, CallStatus.ENDED]
    (program,) = load(path)
    assert program.calls[-1].said == Said(final=True)
