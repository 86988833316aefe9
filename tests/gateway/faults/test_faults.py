"""Engines that fail, stay silent or die, as clients of every protocol see it."""

import asyncio
import json

import pytest

import agentserve.gateway.faults.retries as retries
from agentserve.engines.base import EngineError
from agentserve.gateway.passthrough import PASSED
from tests.gateway.fakes import FakeEngine, FakeReply
from tests.gateway.spoken import SPOKEN, Spoken
from tests.gateway.world import World, chat, eventually, until_idle, within, world

JSON = {"content-type": "application/json"}
pytestmark = pytest.mark.parametrize("name", SPOKEN)


def streamed(spoken: Spoken) -> dict[str, object]:
    return {**spoken.request, "stream": True}


def last_error(spoken: Spoken, content: bytes) -> str:
    """The message of the error event that a stream ends with."""
    assert content.endswith(b"".join(spoken.done))
    events = content.removesuffix(b"".join(spoken.done)).strip().split(b"\n\n")
    data = events[-1].partition(b"data: ")[2]
    return spoken.error_event(json.loads(data))


async def test_before_the_first_byte_another_engine_answers(name: str) -> None:
    spoken = SPOKEN[name]
    async with world(FakeEngine("a"), FakeEngine("b"), limits={"first_byte": 0.05}) as w:
        w.engine.script.append(FakeReply([asyncio.Event()]))
        w.engines[1].script.append(FakeReply(spoken.stream))
        answer = await w.client.post(spoken.path, json=streamed(spoken))
        assert (answer.status_code, answer.headers["x-agentserve-why"]) == (200, "retried")
        await until_idle(w.brain)


async def test_after_the_first_byte_the_failure_is_told_and_nothing_is_tried_again(name: str) -> None:
    spoken = SPOKEN[name]
    async with world(FakeEngine("a"), FakeEngine("b")) as w:
        w.engine.script.append(FakeReply([*spoken.stream[:2], EngineError("engine a broke off")]))
        answer = await w.client.post(spoken.path, json=streamed(spoken))
        assert "broke off" in last_error(spoken, answer.content)
        assert not w.engines[1].sent
        await until_idle(w.brain)


@pytest.mark.parametrize(
    ("limits", "said"), [({"idle": 0.05}, "paused for too long"), ({"total": 0.3}, "limits.total")]
)
async def test_an_answer_that_pauses_or_lasts_too_long_ends_with_the_protocols_error_event(
    name: str, limits: dict[str, float], said: str
) -> None:
    spoken = SPOKEN[name]
    async with world(limits=limits) as w:
        reply = FakeReply([*spoken.stream[:2], asyncio.Event()])
        w.engine.script.append(reply)
        answer = await w.client.post(spoken.path, json=streamed(spoken))
        assert said in last_error(spoken, answer.content)
        assert reply.closed.is_set()
        await until_idle(w.brain)


async def test_a_call_that_takes_too_long_in_all_is_ended_with_504(name: str) -> None:
    spoken = SPOKEN[name]
    async with world(limits={"total": 0.05}) as w:
        w.engine.script.append(asyncio.Event())
        answer = await w.client.post(spoken.path, json=spoken.request)
        assert answer.status_code == 504
        assert "limits.total" in spoken.error(answer.json())
        await within(w.engine.left)
        await until_idle(w.brain)


async def test_when_too_many_calls_fail_they_are_not_tried_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = SPOKEN[name]
    monkeypatch.setattr(retries, "BURST", 0.0)
    async with world(FakeEngine("a"), FakeEngine("b"), faults={"retries": 0.0}) as w:
        w.engine.script.append(EngineError("engine a gave no answer"))
        answer = await w.client.post(spoken.path, json=spoken.request)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "too many calls fail" in spoken.error(answer.json())
        assert not w.engines[1].sent
        await until_idle(w.brain)


async def test_a_client_that_leaves_takes_its_call_off_the_engine(name: str) -> None:
    spoken = SPOKEN[name]
    async with world() as w:
        for body in (spoken.request, streamed(spoken)):
            w.engine.left.clear()
            w.engine.opened.clear()
            w.engine.script.append(asyncio.Event())
            task = asyncio.create_task(w.client.post(spoken.path, json=body))
            await within(w.engine.opened)
            task.cancel()
            await within(w.engine.left)
            await until_idle(w.brain)


async def test_a_client_that_leaves_within_a_stream_takes_its_call_off_the_engine(name: str) -> None:
    spoken = SPOKEN[name]
    async with world() as w:
        reply = FakeReply([*spoken.stream[:2], asyncio.Event()])
        w.engine.script.append(reply)
        async with w.client.stream("POST", spoken.path, json=streamed(spoken)) as answer:
            await anext(answer.aiter_raw())
        await within(reply.closed)
        await until_idle(w.brain)


async def test_an_answer_that_would_fill_the_memory_is_given_up(name: str) -> None:
    spoken = SPOKEN[name]
    async with world(limits={"answer_bytes": 1000}) as w:
        reply = FakeReply([b"x" * 600, b"x" * 600, b"x" * 600])
        w.engine.script.append(reply)
        answer = await w.client.post(spoken.path, json=spoken.request)
        assert answer.status_code == 502
        assert "limits.answer_bytes" in spoken.error(answer.json())
        assert reply.taken == 2, "it is not read on"


async def test_a_gateway_that_stops_finishes_its_streams_and_refuses_new_calls(name: str) -> None:
    spoken = SPOKEN[name]
    async with world() as w:
        go = asyncio.Event()
        w.engine.script.append(FakeReply([spoken.stream[0], go, *spoken.stream[1:]]))
        running = asyncio.create_task(w.client.post(spoken.path, json=streamed(spoken)))
        await within(w.engine.opened)
        w.app.drain.begun = True
        answer = await w.client.post(spoken.path, json=spoken.request)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "is stopping" in spoken.error(answer.json())
        await check_others_are_refused(w)
        assert not w.app.drain.empty
        go.set()
        assert (await running).content.endswith(spoken.stream[-1])
        await eventually(lambda: w.app.drain.empty, "the end of all requests")


async def check_others_are_refused(w: World) -> None:
    assert (await w.client.get("/health")).status_code == 200
    assert (await w.client.get("/ready")).status_code == 503
    for path in PASSED:
        assert (await w.client.post(path, json=chat())).status_code == 503
    group = {"model": "m", "prompt": [1], "max_tokens": 1}
    assert (await w.client.post("/agentserve/v1/rollouts/groups", json=group)).status_code == 503


async def test_slow_silence_is_the_clients_and_not_the_engines(name: str) -> None:
    """An engine is not given up for a pause in which nobody reads from it."""
    spoken = SPOKEN[name]
    reads = asyncio.Event()
    asked = asyncio.Event()
    got: list[bytes] = []

    async def receive() -> dict[str, object]:
        if asked.is_set():
            await asyncio.Event().wait()
        asked.set()
        return {"type": "http.request", "body": json.dumps(streamed(spoken)).encode(), "more_body": False}

    async def send(message: object) -> None:
        await reads.wait()
        assert isinstance(message, dict)
        got.append(message.get("body", b""))

    async with world(limits={"idle": 0.05, "buffer_bytes": 1}) as w:
        w.engine.script.append(FakeReply(spoken.stream))
        scope = {"type": "http", "method": "POST", "path": spoken.path, "headers": []}
        task = asyncio.create_task(w.app(scope, receive, send))
        await within(w.engine.opened)
        await asyncio.sleep(0.15)
        reads.set()
        await task
        assert b"".join(got).endswith(spoken.stream[-1])
