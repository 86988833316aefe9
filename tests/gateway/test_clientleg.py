"""HTTP as clients speak it, by what goes over the socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from agentserve.gateway.clientleg import HELD, LONGEST_HEAD
from tests.gateway.world import serve

Serve = Callable[[Scope, Receive, Send], Awaitable[None]]


class Client:
    """A socket to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)

    async def body(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), 10)

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 10)


@asynccontextmanager
async def client_of(app: Serve) -> AsyncIterator[Client]:
    async with serve(app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


async def answer(send: Send, body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path and the number of bytes that came."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message["body"])
        more = message["more_body"]
    await answer(send, b"%b %d" % (scope["path"].encode(), size))


async def test_requests_sent_together_are_answered_in_their_order() -> None:
    async with client_of(echo) as client:
        await client.ask(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(3)))
        for number in range(3):
            assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await client.body(4) == b"/%d 0" % number


async def test_a_body_larger_than_is_held_comes_whole() -> None:
    body = b"x" * (3 * HELD + 1)
    async with client_of(echo) as client:
        await client.ask(b"POST /%%41 HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await client.head()
        wanted = b"/A %d" % len(body)
        assert await client.body(len(wanted)) == wanted


async def test_a_client_that_waits_to_be_told_is_told_to_go_on() -> None:
    async with client_of(echo) as client:
        await client.ask(b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.ask(b"ab")
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_answer_of_unknown_length_is_chunked_and_its_head_waits_for_no_body() -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body"})

    async with client_of(app) as client:
        await client.ask(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert b"transfer-encoding: chunked" in await client.head()
        go_on.set()
        assert await client.rest() == b"3\r\nabc\r\n0\r\n\r\n"


async def test_an_answer_in_http_1_0_ends_with_the_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"abc"})

    async with client_of(app) as client:
        await client.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.rest()).endswith(b"\r\n\r\nabc")


async def test_an_answer_to_head_has_no_body() -> None:
    async with client_of(echo) as client:
        await client.ask(b"HEAD /a HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert (await client.rest()).endswith(b"content-length: 4\r\nconnection: close\r\n\r\n")


async def test_an_answer_before_the_end_of_a_body_ends_the_connection_once_that_has_come() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"too large", 413)

    async with client_of(app) as client:
        await client.ask(b"POST / HTTP/1.1\r\ncontent-length: 9999\r\n\r\nabc")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in head
        await client.ask(b"x" * 9996)
        assert await client.rest() == b"too large"


@pytest.mark.parametrize(
    ("request_", "status"),
    [(b"nonsense\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nx: " + b"y" * LONGEST_HEAD, 431)],
)
async def test_what_is_no_request_is_refused(request_: bytes, status: int) -> None:
    async with client_of(echo) as client:
        await client.ask(request_)
        assert (await client.head()).startswith(b"HTTP/1.1 %d " % status)


async def test_the_application_is_told_of_a_client_that_leaves() -> None:
    left = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async with client_of(app) as client:
        await client.ask(b"GET / HTTP/1.1\r\n\r\n")
        client.writer.close()
        await asyncio.wait_for(left.wait(), 10)


async def test_an_application_that_breaks_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("broken")

    async with client_of(app) as client:
        await client.ask(b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert "the application broke" in caplog.text


async def test_a_header_with_a_line_break_never_leaves() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x", b"a\r\nset-cookie: b"), (b"content-length", b"0")]
        with pytest.raises(RuntimeError, match="line break"):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise ValueError("nothing was sent")

    async with client_of(app) as client:
        await client.ask(b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 500 ")
