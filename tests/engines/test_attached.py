from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from agentserve.engines.attached import AttachedEngine
from agentserve.engines.base import EngineError, PinOrder, PinReport, Pulse
from agentserve.engines.probe import Known
from scheduler.events import PinOutcome
from scheduler.types import EngineId
from tests.engines.mock_engine import MockEngine, serve


@pytest.fixture
async def mock() -> AsyncIterator[MockEngine]:
    async with serve(MockEngine()) as server:
        yield server


@pytest.fixture
async def engine(mock: MockEngine) -> AsyncIterator[AttachedEngine]:
    engine = AttachedEngine(EngineId("a"), mock.url, Known("m"))
    yield engine
    await engine.stop()


def ignore(line: str) -> None:
    """Nobody reads the progress."""


async def test_a_stream_arrives_in_the_pieces_it_is_sent_in(mock: MockEngine, engine: AttachedEngine) -> None:
    steps = [asyncio.Event() for _ in range(3)]

    async def stream() -> AsyncIterator[bytes]:
        for number, step in enumerate(steps):
            await step.wait()
            yield f"data: {number}\n\n".encode()

    mock.stream = stream
    reply = await engine.open(
        "/v1/chat/completions", {"content-type": "application/json", "x-a": "b"}, '{"é": 1}'.encode()
    )
    assert (reply.status, reply.headers["x-from"]) == (200, "mock")
    assert mock.posted == [b'{"\xc3\xa9": 1}']
    assert (mock.headers[0]["x-a"], mock.headers[0]["accept-encoding"]) == ("b", "identity")
    chunks = reply.chunks()
    for number, step in enumerate(steps):
        step.set()
        assert await anext(chunks) == f"data: {number}\n\n".encode()
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)
    await reply.aclose()


async def test_closing_a_reply_is_seen_by_the_engine(mock: MockEngine, engine: AttachedEngine) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    mock.stream = stream
    reply = await engine.open("/v1/completions", {}, b"{}")
    assert await anext(reply.chunks()) == b"data: 1\n\n"
    await reply.aclose()
    async with asyncio.timeout(5):
        await mock.left.wait()


async def test_a_large_body_arrives_whole(mock: MockEngine, engine: AttachedEngine) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"done"

    mock.stream = stream
    body = bytes(range(256)) * 12_000
    reply = await engine.open("/v1/completions", {"content-type": "application/json"}, body)
    assert [chunk async for chunk in reply.chunks()] == [b"done"]
    await reply.aclose()
    assert mock.posted == [body]
    assert mock.headers[0]["content-length"] == str(len(body))


async def test_hundreds_of_streams_run_at_once(mock: MockEngine, engine: AttachedEngine) -> None:
    arrived = 0
    everyone = asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        nonlocal arrived
        arrived += 1
        if arrived == 300:
            everyone.set()
        await everyone.wait()
        yield b"done"

    async def call() -> bytes:
        reply = await engine.open("/v1/completions", {}, b"{}")
        return b"".join([chunk async for chunk in reply.chunks()])

    mock.stream = stream
    async with asyncio.timeout(30):
        assert await asyncio.gather(*(call() for _ in range(300))) == [b"done"] * 300


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"what?\r\n\r\n")
    writer.close()
    await writer.wait_closed()


async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def attached_to(server: asyncio.Server) -> AttachedEngine:
    port = server.sockets[0].getsockname()[1]
    return AttachedEngine(EngineId("a"), f"http://127.0.0.1:{port}", Known("m"))


async def test_an_answer_that_is_no_http_is_an_engine_error() -> None:
    async with await asyncio.start_server(garbage, "127.0.0.1") as server:
        engine = attached_to(server)
        with pytest.raises(EngineError, match="engine a gave no answer to POST"):
            await engine.open("/v1/completions", {}, b"{}")
        assert not await engine.healthy()
        await engine.stop()


async def test_an_answer_that_breaks_off_is_an_engine_error() -> None:
    async with await asyncio.start_server(short, "127.0.0.1") as server:
        engine = attached_to(server)
        reply = await engine.open("/v1/completions", {}, b"{}")
        chunks = reply.chunks()
        assert await anext(chunks) == b"hello"
        with pytest.raises(EngineError, match="engine a broke off"):
            await anext(chunks)
        await reply.aclose()
        await engine.stop()


async def test_an_engine_that_answers_500_is_not_healthy(mock: MockEngine, engine: AttachedEngine) -> None:
    assert await engine.healthy()
    mock.status = 503
    assert not await engine.healthy()


async def test_a_server_without_a_health_route_is_healthy_as_long_as_it_answers(
    mock: MockEngine, engine: AttachedEngine
) -> None:
    mock.pages.clear()
    assert await engine.healthy()


async def test_a_pulse_is_in_tokens(mock: MockEngine, engine: AttachedEngine) -> None:
    await engine.start(ignore)
    mock.pins = '{"cursor": 9, "reports": [], "protected_tokens": 96}'
    assert await engine.observe() == Pulse(running=3, waiting=2, kv_used=4096)


async def test_a_page_that_is_not_vllms_gives_no_pulse(mock: MockEngine, engine: AttachedEngine) -> None:
    await engine.start(ignore)
    mock.pages["/metrics"] = "up 1\n"
    with pytest.raises(EngineError, match="no vLLM metrics"):
        await engine.observe()


async def test_pins_are_ordered_and_each_report_comes_once(mock: MockEngine, engine: AttachedEngine) -> None:
    mock.pins = '{"cursor": 5, "reports": [], "protected_tokens": 0}'  # reports of an earlier gateway are not ours
    await engine.start(ignore)
    report = {"program": "default/p", "outcome": "broken", "tokens": 64}
    mock.pins = json.dumps({"cursor": 6, "reports": [report], "protected_tokens": 0, "new_field": 1})
    assert await engine.pin([PinOrder("default/p", 2.5)]) == [PinReport("default/p", PinOutcome.BROKEN, 64)]
    await engine.pin([])
    assert [json.loads(body) for body in mock.posted] == [
        {"pins": [{"program": "default/p", "ttl": 2.5}], "since": 5},
        {"pins": [], "since": 6},
    ]


async def test_without_the_plugin_pins_are_not_even_sent(mock: MockEngine, engine: AttachedEngine) -> None:
    del mock.pages["/agentserve/v1/plugin"]
    await engine.start(ignore)
    assert await engine.pin([PinOrder("default/p", 2.5)]) == []
    assert mock.posted == []


async def test_a_control_route_that_fails_is_an_engine_error(mock: MockEngine, engine: AttachedEngine) -> None:
    await engine.start(ignore)
    mock.status, mock.pins = 500, "no engine core"
    with pytest.raises(EngineError, match="with status 500: no engine core"):
        await engine.pin([])


async def test_a_stopped_engine_says_so(mock: MockEngine) -> None:
    engine = AttachedEngine(EngineId("a"), mock.url, Known("m"))
    await engine.start(ignore)
    await engine.stop()
    assert not await engine.healthy()
    with pytest.raises(EngineError, match="engine a has been stopped"):
        await engine.open("/v1/completions", {}, b"{}")
