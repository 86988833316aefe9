"""The way of calls to one engine: HTTP/1.1 on connections of our own, whose answers are handed on as they come.

What an engine sends goes from the socket to whoever takes it within one callback of the event loop: no task is woken
for a chunk. That is why this is no general client: it POSTs, follows nothing, decompresses nothing, retries nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeAlias, cast
from urllib.parse import urlsplit

import httptools

from agentserve.engines.base import EngineError, Room, Take
from agentserve.engines.patience import patience
from scheduler.types import EngineId, Seconds

CONNECT_TIMEOUT: Seconds = 5.0
KEEPALIVE_EXPIRY: Seconds = 4.0
"""For how long an idle connection is used: below the 5 s after which vLLM closes it, so that none is used as it closes."""
MOST_WAITING = 1 << 20
"""Bytes of an answer that nobody has taken yet, after which reading pauses."""
PIECE = 1 << 20
"""A large body is written piece by piece, so that one does not hold up the event loop."""

_Free: TypeAlias = "Callable[[Connection], None]"


class BrokenError(Exception):
    """The connection broke, or what came is no HTTP. The message says which."""


class Connection(asyncio.Protocol):
    """One connection to an engine, with at most one exchange at a time."""

    def __init__(self) -> None:
        self.usable = False
        """Another exchange may begin."""
        self.idle_since: Seconds = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser = httptools.HttpResponseParser(self)
        self._reply: CallReply | None = None
        self._pieces: list[bytes] = []
        self._keeps_alive = False
        self._writable: asyncio.Future[None] | None = None

    # --- the exchange -----------------------------------------------------------------------------------------------

    async def exchange(self, head: bytes, body: bytes, reply: CallReply) -> None:
        """Sends a request and returns when the head of its answer is there, in `reply`.

        Raises:
            BrokenError: none comes.
        """
        self.usable = False
        self._reply = reply
        transport = self._open_transport()
        if len(body) <= PIECE:
            transport.writelines((head, body))
        else:
            await self._write_slowly(transport, head, body)
        await reply.head

    def pause(self) -> None:
        """Reads nothing until `resume`."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Closes at once, which aborts what is still running."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None or self._transport.is_closing():
            raise BrokenError("the connection is closed")
        return self._transport

    async def _write_slowly(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        transport.write(head)
        view = memoryview(body)
        while view:
            if self._writable is not None:
                await self._writable
            self._open_transport().write(view[:PIECE])
            view = view[PIECE:]
            if view:
                await asyncio.sleep(0)

    # --- called by the event loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's derives from nothing
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Something has come."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break(f"it sent something that is no HTTP: {error}")
            return
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            if self._reply is not None:
                self._reply.came(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        reply = self._reply
        if reply is not None and reply.complete:
            self._finish(reply)

    def eof_received(self) -> None:
        """The engine will send nothing more. An answer of no announced length ends so."""
        reply = self._reply
        if reply is not None and reply.ends_with_connection:
            reply.complete = True
            self._finish(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self.usable = False
        self._break(f"the connection was closed{f': {error}' if error else ''}")
        self.resume_writing()

    def pause_writing(self) -> None:
        """The engine reads more slowly than we write."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _break(self, why: str) -> None:
        reply, self._reply = self._reply, None
        self.close()
        if reply is not None:
            reply.broke(BrokenError(why))

    def _finish(self, reply: CallReply) -> None:
        self._reply = None
        self.usable = self._keeps_alive and not reply.ends_with_connection
        if not self.usable:
            self.close()
        reply.ended()

    # --- called by the parser ---------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the answer."""
        if self._reply is not None:
            self._reply.raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The answer's head is there."""
        if self._reply is not None:
            self._reply.head_came(self._parser.get_status_code())

    def on_body(self, data: bytes) -> None:
        """A piece of the answer."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The answer's end is there."""
        reply = self._reply
        if reply is None or self._parser.get_status_code() < 200:
            return
        reply.complete = True
        self._keeps_alive = self._parser.should_keep_alive()  # it knows only now


class CallReply:
    """An answer (`base.Reply`), once `head` is done."""

    def __init__(self, engine: EngineId, connection: Connection, free: _Free) -> None:
        """`free` takes the connection back when all of the answer has come."""
        self.status = 0
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        """All of it has come from the socket."""
        self.ends_with_connection = False
        """Neither a length nor chunks tell where it ends."""
        self.head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._engine = engine
        self._connection = connection
        self._free = free
        self._waiting: list[bytes] = []
        self._size = 0
        self._paused = False
        self._take: Take | None = None
        self._room: Room | None = None
        self._failure: Exception | None = None
        self._over = False
        self._news: asyncio.Future[None] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case names."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.raw_headers}

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in the pieces it comes in. Raises `EngineError` if the connection breaks."""
        while True:
            for piece in self._taken():
                yield piece
            if self._waiting:
                continue
            if self._is_over():
                return
            await self._news_comes()

    async def relay(self, take: Take) -> None:
        """Gives each piece to `take` as it comes (`base.Reply.relay`)."""
        while True:
            for piece in self._taken():
                room = take(piece)
                if room is not None:
                    await self._wait_for(room)
            if self._waiting:
                continue
            if self._is_over():
                return
            self._take = take
            try:
                await self._news_comes()
            finally:
                self._take = None
            if self._room is not None:
                room, self._room = self._room, None
                await self._wait_for(room)

    async def aclose(self) -> None:
        """Ends the exchange; the engine sees the connection close and aborts what is still running."""
        if not self._over:
            self._over = True
            self._connection.close()

    # --- told by the connection -------------------------------------------------------------------------------------

    def head_came(self, status: int) -> None:
        """The head is there; those of status 1xx are not the answer's."""
        if status < 200:
            self.raw_headers.clear()
            return
        self.status = status
        names = {name.lower() for name, _ in self.raw_headers}
        self.ends_with_connection = not names & {b"content-length", b"transfer-encoding"} and status not in (204, 304)
        if not self.head.done():
            self.head.set_result(None)

    def came(self, piece: bytes) -> None:
        """A piece of the body is there."""
        if self._take is None:
            self._waiting.append(piece)
            self._size += len(piece)
            if self._size > MOST_WAITING:
                self._pause()
            self._wake()
            return
        try:
            self._room = self._take(piece)
        except Exception as error:
            self._failure = error
        if self._room is not None or self._failure is not None:
            self._take = None
            self._pause()
            self._wake()

    def ended(self) -> None:
        """All of it is there."""
        self._resume()  # the next exchange is not to find it paused
        if not self._over:
            self._over = True
            self._free(self._connection)
        self._wake()

    def broke(self, error: BrokenError) -> None:
        """There will be nothing more."""
        if not self.head.done():
            self.head.set_exception(error)
            self.head.exception()  # who waits for it gets it; where nobody does, nothing is to be logged
        elif not self._over:
            self._over = True
            self._failure = self._failure or EngineError(
                f"engine {self._engine} broke off in the middle of its answer: {error}"
            )
        self._wake()

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _taken(self) -> list[bytes]:
        """What has come and was not taken yet."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        self._resume()
        return waiting

    def _is_over(self) -> bool:
        """Whether nothing more comes. Raises what went wrong."""
        if self._failure is not None:
            raise self._failure
        return self._over

    async def _news_comes(self) -> None:
        self._news = asyncio.get_running_loop().create_future()
        await self._news

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _wait_for(self, room: Room) -> None:
        """Reads nothing until there is room."""
        self._pause()
        await room()
        self._resume()

    def _pause(self) -> None:
        if not self._paused and not self._over:
            self._paused = True
            self._connection.pause()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._connection.resume()


class CallLeg:
    """The connections to one engine. There may be any number of exchanges at a time."""

    def __init__(self, engine: EngineId, url: str) -> None:
        parts = urlsplit(url)
        self._engine = engine
        self.url = url
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._common = f"host: {parts.netloc.rpartition('@')[2]}\r\naccept: */*\r\naccept-encoding: identity\r\n"
        self._idle: deque[Connection] = deque()
        self._closed = False

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> CallReply:
        """POSTs a body and returns at the answer's head, however long that takes.

        Raises:
            EngineError: no answer came.
        """
        head = self._head(path, headers, len(body))
        connection = self._pop_idle()
        if connection is not None:
            try:
                return await self._exchange(connection, head, body)
            except BrokenError:
                pass  # the engine closed it while it was idle; it has seen nothing of this request
        try:
            return await self._exchange(await self._connect(), head, body)
        except (BrokenError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise EngineError(f"engine {self._engine} gave no answer to POST {path}: {reason}") from error

    def close(self) -> None:
        """Closes what is idle; what is busy is closed by those who use it."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _exchange(self, connection: Connection, head: bytes, body: bytes) -> CallReply:
        reply = CallReply(self._engine, connection, self._give_back)
        try:
            await connection.exchange(head, body, reply)
        except BaseException:
            connection.close()
            raise
        return reply

    def _head(self, path: str, headers: Mapping[str, str], length: int) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
            raise ValueError("a header for an engine has a line break in it")
        text = f"POST {self._prefix}{path} HTTP/1.1\r\n{self._common}{lines}content-length: {length}\r\n\r\n"
        return text.encode("latin-1")

    async def _connect(self) -> Connection:
        """Raises `OSError` if there is no connection within `CONNECT_TIMEOUT` (`TimeoutError` is one)."""
        loop = asyncio.get_running_loop()
        async with patience(CONNECT_TIMEOUT):
            _, connection = await loop.create_connection(Connection, self._host, self._port, ssl=self._tls)
        return connection

    def _pop_idle(self) -> Connection | None:
        earliest = asyncio.get_running_loop().time() - KEEPALIVE_EXPIRY
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since > earliest:
                return connection
            connection.close()
        return None

    def _give_back(self, connection: Connection) -> None:
        if not connection.usable or self._closed:
            connection.close()
            return
        now = connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)
        while self._idle[0].idle_since < now - KEEPALIVE_EXPIRY:
            self._idle.popleft().close()
