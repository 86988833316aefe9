"""The way of calls to an engine, against a server that says what the test wants, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

import agentserve.engines.calls as calls
from agentserve.engines.base import EngineError, Room
from agentserve.engines.calls import MOST_WAITING, PIECE, CallLeg, CallReply
from scheduler.types import EngineId
from tests.gateway.world import eventually

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNKS = (b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n")


@dataclass
class Server:
    """Answers each request on a connection with the next of `answers`; None closes the connection instead."""

    answers: list[tuple[bytes | asyncio.Event, ...] | None]
    leg: CallLeg = field(init=False)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                for part in answer:
                    if isinstance(part, asyncio.Event):
                        await part.wait()
                    else:
                        writer.write(part)
                        await writer.drain()
                        await asyncio.sleep(0)
                if head and answer and answer[-1] == b"":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        finally:
            writer.close()


@asynccontextmanager
async def server(*answers: tuple[bytes | asyncio.Event, ...] | None) -> AsyncIterator[Server]:
    told = Server(list(answers))
    listening = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    told.leg = CallLeg(EngineId("a"), f"http://127.0.0.1:{port}/prefix")
    try:
        yield told
    finally:
        told.leg.close()
        listening.close()
        await listening.wait_closed()


async def body(told: Server, content: bytes = b"{}") -> bytes:
    reply = await told.leg.open("/x", {"content-type": "application/json"}, content)
    return b"".join([piece async for piece in reply.chunks()])


async def test_a_request_is_what_http_wants_and_its_answer_comes_whole() -> None:
    async with server((HEAD, b"hello")) as told:
        reply = await told.leg.open("/x", {"x-request-id": "7"}, b'{"a": 1}')
        assert (reply.status, reply.headers["content-type"]) == (200, "text/plain")
        assert [piece async for piece in reply.chunks()] == [b"hello"]
        head, _, content = told.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /prefix/x HTTP/1.1\r\nhost: 127.0.0.1:")
        assert b"\r\nx-request-id: 7\r\n" in head
        assert content == b'{"a": 1}'


@pytest.mark.parametrize(
    "answer", [(CHUNKED, *CHUNKS), (CHUNKED + b"".join(CHUNKS),), (b"HTTP/1.1 200 OK\r\n\r\nabcde", b"")]
)
async def test_an_answer_ends_where_its_form_says(answer: tuple[bytes, ...]) -> None:
    async with server(answer) as told:
        assert await body(told) == b"abcde"


async def test_a_connection_is_used_again_and_a_stale_one_is_not() -> None:
    async with server((HEAD, b"hello"), (HEAD, b"again"), None, (HEAD, b"fresh")) as told:
        assert [await body(told) for _ in range(3)] == [b"hello", b"again", b"fresh"]
        assert told.connections == 2


async def test_an_answer_before_the_answer_is_passed_over() -> None:
    async with server((b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n", HEAD, b"hello")) as told:
        reply = await told.leg.open("/x", {}, b"{}")
        assert (reply.status, "x" in reply.headers) == (200, False)


async def test_pieces_are_handed_on_as_they_come() -> None:
    go_on = asyncio.Event()
    async with server((CHUNKED, CHUNKS[0], go_on, *CHUNKS[1:])) as told:
        reply = await told.leg.open("/x", {}, b"{}")
        got: list[bytes] = []

        def take(piece: bytes) -> None:
            got.append(piece)
            go_on.set()

        await reply.relay(take)
        assert got[0] == b"abc"
        assert b"".join(got) == b"abcde"


async def test_reading_pauses_while_the_taker_has_no_room() -> None:
    amount = 16 * MOST_WAITING
    room_is_there = asyncio.Event()
    async with server((b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % amount, *[bytes(MOST_WAITING)] * 16)) as told:
        reply = await told.leg.open("/x", {}, b"{}")
        got = 0

        def take(piece: bytes) -> Room | None:
            nonlocal got
            got += len(piece)
            return None if room_is_there.is_set() else wait

        async def wait() -> None:
            await room_is_there.wait()

        relay = asyncio.create_task(reply.relay(take))
        await eventually(lambda: got > 0, "the first piece")
        for _ in range(100):
            await asyncio.sleep(0)
        assert got < amount
        room_is_there.set()
        await relay
        assert got == amount


async def test_what_the_taker_raises_ends_the_relay() -> None:
    def take(piece: bytes) -> None:
        raise ValueError("not that")

    late = asyncio.Event()
    for answer in ((CHUNKED, *CHUNKS[:1]), (CHUNKED, late, *CHUNKS[:1])):
        late.clear()
        async with server(answer) as told:
            reply = await told.leg.open("/x", {}, b"{}")
            asyncio.get_running_loop().call_later(0.01, late.set)
            with pytest.raises(ValueError, match="not that"):
                await reply.relay(take)
            await reply.aclose()


async def test_a_connection_whose_taker_left_with_no_room_serves_the_next() -> None:
    late, taken, never = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with server((CHUNKED, late, b"".join(CHUNKS)), (HEAD, b"hello")) as told:
        reply = await told.leg.open("/x", {}, b"{}")

        def take(piece: bytes) -> Room:
            taken.set()
            return wait

        async def wait() -> None:
            await never.wait()

        relay = asyncio.create_task(reply.relay(take))
        await asyncio.sleep(0)
        late.set()
        await taken.wait()
        relay.cancel()
        with pytest.raises(asyncio.CancelledError):
            await relay
        await reply.aclose()
        async with asyncio.timeout(5):
            assert await body(told) == b"hello"
        assert told.connections == 1


async def test_leaving_closes_the_connection() -> None:
    never = asyncio.Event()
    async with server((CHUNKED, CHUNKS[0], never)) as told:
        reply = await told.leg.open("/x", {}, b"{}")
        await reply.aclose()
        never.set()
        async with asyncio.timeout(5):
            await told.closed.wait()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((b"nonsense\r\n\r\n",), "gave no answer to POST .*: it sent something that is no HTTP"),
        ((b"",), "gave no answer to POST .*: the connection was closed"),
    ],
)
async def test_no_answer_is_an_error_that_says_why(answer: tuple[bytes, ...], message: str) -> None:
    async with server(answer) as told:
        with pytest.raises(EngineError, match=message):
            await body(told)


@pytest.mark.parametrize("how", ["chunks", "relay"])
async def test_an_answer_that_breaks_off_is_an_error(how: str) -> None:
    async with server((HEAD, b"he", b"")) as told:
        reply = await told.leg.open("/x", {}, b"{}")
        with pytest.raises(EngineError, match="broke off in the middle of its answer"):
            await (reply.relay(lambda piece: None) if how == "relay" else _all(reply))


async def _all(reply: CallReply) -> None:
    assert [piece async for piece in reply.chunks()]


async def test_a_refused_connection_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"engine a gave no answer to POST /x") as refused:
        await CallLeg(EngineId("a"), "http://127.0.0.1:9").open("/x", {}, b"{}")
    assert "http://" not in str(refused.value), "clients are told this, and need not know where engines are"


async def test_a_connection_that_does_not_come_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(calls, "CONNECT_TIMEOUT", 0.01)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    async with asyncio.timeout(5):
        with pytest.raises(EngineError, match="gave no answer to POST /x: TimeoutError"):
            await CallLeg(EngineId("a"), "http://127.0.0.1:9").open("/x", {}, b"{}")


async def test_a_large_body_arrives_whole() -> None:
    content = bytes(range(256)) * (3 * PIECE // 256)
    async with server((HEAD, b"hello")) as told:
        assert await body(told, content) == b"hello"
        assert told.requests[0].endswith(content)


async def test_a_cancelled_exchange_is_closed() -> None:
    async with server((asyncio.Event(),)) as told:
        task = asyncio.create_task(told.leg.open("/x", {}, b"{}"))
        await eventually(lambda: bool(told.requests), "the request")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        told.answers.clear()


async def test_a_line_break_never_gets_into_a_head() -> None:
    with pytest.raises(ValueError, match="line break"):
        await CallLeg(EngineId("a"), "http://127.0.0.1:9").open("/x", {"a": "b\r\nevil: c"}, b"{}")
