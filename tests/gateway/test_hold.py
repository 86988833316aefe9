import asyncio
import json

import pytest

import agentserve.gateway.call as call_module
from agentserve.engines.base import EngineError
from tests.gateway.fakes import DONE, ROLE, STOP, WORDS, FakeEngine, FakeReply
from tests.gateway.world import CHAT, World, chat, eventually, until_idle, within, world

ALIVE = b": keep-alive\n\n"


@pytest.fixture(autouse=True)
def _frequent_keep_alives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "KEEP_ALIVE", 0.02)


async def first_chunk(w: World, pieces: asyncio.Queue[bytes]) -> int:
    async with w.client.stream("POST", CHAT, json=chat(stream=True)) as answer:
        async for piece in answer.aiter_raw():
            pieces.put_nowait(piece)
        return answer.status_code


async def test_a_stream_that_waits_is_kept_alive_and_then_served() -> None:
    go = asyncio.Event()
    async with world(limits={"first_byte_hold": 0.01}) as w:
        w.engine.script.append(go)
        pieces: asyncio.Queue[bytes] = asyncio.Queue()
        task = asyncio.create_task(first_chunk(w, pieces))
        got = await pieces.get() + await pieces.get()
        assert got.startswith(ALIVE + ALIVE)
        go.set()
        assert await task == 200
        while not pieces.empty():
            got += pieces.get_nowait()
        assert got.replace(ALIVE, b"") == b"".join((ROLE, *WORDS, STOP, DONE))


async def test_an_error_after_the_hold_comes_as_an_event_of_the_stream() -> None:
    broken = asyncio.Event()
    async with world(limits={"first_byte_hold": 0.01}) as w:
        w.engine.script.append(FakeReply([broken, EngineError("engine a broke off")]))
        pieces: asyncio.Queue[bytes] = asyncio.Queue()
        task = asyncio.create_task(first_chunk(w, pieces))
        got = await pieces.get()
        broken.set()
        assert await task == 200
        while not pieces.empty():
            got += pieces.get_nowait()
        *_, error, done, rest = got.split(b"\n\n")
        assert (done, rest) == (b"data: [DONE]", b"")
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "engines_failed"


async def test_after_the_hold_another_engine_can_still_answer() -> None:
    broken = asyncio.Event()
    async with world(FakeEngine("a"), FakeEngine("b"), limits={"first_byte_hold": 0.01}) as w:
        w.engine.script.append(FakeReply([broken, EngineError("engine a broke off")]))
        pieces: asyncio.Queue[bytes] = asyncio.Queue()
        task = asyncio.create_task(first_chunk(w, pieces))
        got = await pieces.get()
        broken.set()
        await task
        while not pieces.empty():
            got += pieces.get_nowait()
        assert got.replace(ALIVE, b"") == b"".join((ROLE, *WORDS, STOP, DONE))


async def test_the_engines_refusal_after_the_hold_comes_as_an_event() -> None:
    ready = asyncio.Event()
    refusal = b'{"error":\n{"message":"too long"}}'
    async with world(limits={"first_byte_hold": 0.01}) as w:
        w.engine.script.append(FakeReply([ready, refusal], status=400))
        pieces: asyncio.Queue[bytes] = asyncio.Queue()
        task = asyncio.create_task(first_chunk(w, pieces))
        got = await pieces.get()
        ready.set()
        await task
        while not pieces.empty():
            got += pieces.get_nowait()
        assert got.replace(ALIVE, b"") == b'data: {"error": {"message":"too long"}}\n\ndata: [DONE]\n\n'


async def test_an_error_within_the_hold_has_a_status() -> None:
    async with world() as w:
        w.engine.script.append(EngineError("engine a gave no answer"))
        assert (await w.client.post(CHAT, json=chat(stream=True))).status_code == 502


async def test_a_call_that_does_not_fit_waits_for_one_that_does() -> None:
    big = "word " * 3000
    go = asyncio.Event()
    async with world(policy="agentserve") as w:
        w.engine.script.append(go)
        first = asyncio.create_task(w.client.post(CHAT, json=chat(big + "1"), headers={"x-agentserve-final": "1"}))
        await within(w.engine.opened)
        second = asyncio.create_task(w.client.post(CHAT, json=chat(big + "2")))
        await eventually(lambda: w.brain.waiting == 1, "the second call's waiting")
        assert len(w.engine.sent) == 1
        go.set()
        assert (await first).status_code == 200
        answer = await second
        assert answer.headers["x-agentserve-why"] in ("queued", "admitted")
        await until_idle(w.brain)


async def test_a_client_that_leaves_while_its_call_waits_is_forgotten() -> None:
    big = "word " * 3000
    go = asyncio.Event()
    async with world(policy="agentserve") as w:
        w.engine.script.append(go)
        first = asyncio.create_task(w.client.post(CHAT, json=chat(big + "1")))
        await within(w.engine.opened)
        second = asyncio.create_task(w.client.post(CHAT, json=chat(big + "2")))
        await eventually(lambda: w.brain.waiting == 1, "the second call's waiting")
        second.cancel()
        await eventually(lambda: w.brain.waiting == 0, "its end")
        go.set()
        assert (await first).status_code == 200
        assert len(w.engine.sent) == 1
