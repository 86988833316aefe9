"""The clients' leg: HTTP/1.1 as uvicorn's server speaks it, in the place of uvicorn's own protocol.

It is less work for a call: an answer's head goes with the first piece of its body, a body of usual size is handed on in
one piece, and a connection has one timer for all the pauses between its requests.
"""

from __future__ import annotations

import asyncio
import http
import logging
import math
from collections import deque
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
import uvicorn
from starlette.types import ASGIApp, Message
from uvicorn.server import ServerState

from scheduler.types import Seconds

HELD: Final = 1 << 20
"""Bytes of a body that wait for the application, after which reading pauses."""
LINGER: Seconds = 5.0
"""For how long the rest of a body is taken after its answer, lest a reset overtakes that answer."""
LONGEST_HEAD: Final = 64 * 1024
"""Bytes of a request's head."""

_BODYLESS = frozenset({204, 304})
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}

logger = logging.getLogger(__name__)


class ClientLeg(asyncio.Protocol):
    """One connection of a client. Requests that it sends without waiting for answers are answered in their order."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """As uvicorn's server makes it."""
        self.loop = _loop or asyncio.get_running_loop()
        self.state = server_state
        self.transport: asyncio.Transport
        self._app = cast("ASGIApp", config.loaded_app)
        self._parser = httptools.HttpRequestParser(self)
        self._exchanges: deque[_Exchange] = deque()
        """Those that are not over; the first is being served, the last may still be coming."""
        self._common: dict[str, Any] = {}
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self.writable: asyncio.Future[None] | None = None
        """Is done when the client keeps up again; None while it does."""
        self._patience = config.timeout_keep_alive
        self._idle_since: Seconds = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False

    # --- called by the event loop and the server --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self.transport = cast("asyncio.Transport", transport)
        self.state.connections.add(cast("Any", self))
        server, client = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self._common = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "server": tuple(server[:2]) if isinstance(server, tuple) else None,
            "client": tuple(client[:2]) if isinstance(client, tuple) else None,
            "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
            "root_path": "",
        }

    def data_received(self, data: bytes) -> None:
        """Something has come."""
        self._idle_since = math.inf
        self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # we offer no other protocol: the request is answered as one of HTTP
        except httptools.HttpParserError:
            self._refuse(400, b"this is no HTTP request")
        else:
            if self._head_size > LONGEST_HEAD:
                self._refuse(431, b"the head of the request is too long")

    def eof_received(self) -> None:
        """The client sends nothing more, and is taken to have left."""

    def connection_lost(self, error: Exception | None) -> None:
        """The client has left."""
        self.state.connections.discard(cast("Any", self))
        self.resume_writing()
        if self._timer is not None:
            self._timer.cancel()
        for exchange in self._exchanges:
            exchange.leave()

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self.writable = self.loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        writable, self.writable = self.writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def shutdown(self) -> None:
        """The server stops: what runs may end, and nothing new begins."""
        self._stopping = True
        if not self._exchanges:
            self.transport.close()

    # --- called by the parser ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """A part of its URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._head_size = 0
        url = httptools.parse_url(self._url)
        path = (url.path or b"/").decode("latin-1")
        version = self._parser.get_http_version()
        scope = {
            **self._common,
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": self._headers,
            "state": {},
        }
        exchange = _Exchange(self, scope, keeps_alive=version == "1.1" and self._parser.should_keep_alive())
        self._exchanges.append(exchange)
        if len(self._exchanges) == 1:
            self._begin(exchange)
        else:
            self.transport.pause_reading()

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body."""
        self._head_size = 0
        if self._exchanges:
            self._exchanges[-1].came(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._head_size = 0
        if self._exchanges:
            self._exchanges[-1].complete()

    # --- told by exchanges ------------------------------------------------------------------------------------------

    def ended(self, *, keeps_alive: bool) -> None:
        """The first exchange has been answered."""
        self.state.total_requests += 1
        self._exchanges.popleft()
        if not keeps_alive or self._stopping:
            self.transport.close()
        elif self._exchanges:
            self._begin(self._exchanges[0])
        else:
            self._rest()

    def _begin(self, exchange: _Exchange) -> None:
        task = self.loop.create_task(exchange.run(self._app))
        self.state.tasks.add(task)
        task.add_done_callback(self.state.tasks.discard)

    def _rest(self) -> None:
        """Nothing is under way."""
        if not self.transport.is_closing():
            self.transport.resume_reading()
        self._idle_since = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self._patience, self._rested)

    def _rested(self) -> None:
        """Closes if nothing has come for so long; else a later look will do."""
        self._timer = None
        left = self._idle_since + self._patience - self.loop.time()
        if left <= 0:
            self.transport.close()
        elif left < math.inf:
            self._timer = self.loop.call_later(left, self._rested)

    def _refuse(self, status: int, why: bytes) -> None:
        """Answers what is not a request, unless an answer is under way."""
        if self.transport.is_closing():
            return
        if not self._exchanges:
            head = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(why)
            self.transport.write(_STATUS_LINES[status] + head + why)
        self.transport.close()


class _Exchange:
    """A request and its answer, as ASGI has them."""

    def __init__(self, leg: ClientLeg, scope: dict[str, Any], *, keeps_alive: bool) -> None:
        self._leg = leg
        self._scope = scope
        self._keeps_alive = keeps_alive
        self._awaits_leave = (b"expect", b"100-continue") in scope["headers"]
        """The client sends its body only when it is told to go on."""
        self._pieces: list[bytes] = []
        self._size = 0
        self._whole = False
        """All of the body has come."""
        self._taken = False
        """All of it has been given to the application."""
        self._news: asyncio.Future[None] | None = None
        self._gone = False
        self._head = b""
        """That waits for the first piece of the answer's body."""
        self._begun = self._done = self._chunked = False
        self._left: int | None = None
        """Bytes that the answer's length announces and that have not been sent."""

    async def run(self, app: ASGIApp) -> None:
        """Has the application answer."""
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:
            logger.exception("the application broke")
        if self._done or self._gone:
            return
        if self._begun:
            self._leg.transport.close()
            return
        body = b"Internal Server Error"
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    # --- the request ------------------------------------------------------------------------------------------------

    def came(self, piece: bytes) -> None:
        """A piece of the body."""
        if self._done:
            return
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > HELD:
            self._leg.transport.pause_reading()
            self._wake()

    def complete(self) -> None:
        """All of the body has come."""
        self._whole = True
        if self._done:
            self._leg.ended(keeps_alive=False)
        self._wake()

    def leave(self) -> None:
        """The client has left."""
        self._gone = True
        self._wake()

    async def receive(self) -> Message:
        """The next piece of the body, or that the client left or has its answer."""
        if self._awaits_leave and not self._begun:
            self._awaits_leave = False
            self._leg.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self._is_news():
            self._news = self._leg.loop.create_future()
            await self._news
        if self._taken or self._gone or self._done:
            return {"type": "http.disconnect"}
        body, self._taken = b"".join(self._pieces), self._whole
        if self._size > HELD and not self._gone:
            self._leg.transport.resume_reading()
        self._pieces, self._size = [], 0
        return {"type": "http.request", "body": body, "more_body": not self._whole}

    def _is_news(self) -> bool:
        return self._gone or self._done or (not self._taken and (self._whole or self._size > HELD))

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # --- the answer -------------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Sends a part of the answer; waits while the client does not keep up.

        Raises:
            RuntimeError: the application sends what is no answer.
        """
        if self._leg.writable is not None:
            await self._leg.writable
        if self._gone:
            return
        if not self._begun:
            self._start(message["status"], list(message.get("headers", ())))
        elif self._done:
            raise RuntimeError("more was sent after the end of an answer")
        else:
            self._put(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        names = {name.lower(): value for name, value in headers}
        if b"content-length" in names:
            self._left = int(names[b"content-length"])
        self._keeps_alive = self._keeps_alive and self._whole
        if b"close" in names.get(b"connection", b"").lower():
            self._keeps_alive = False
        elif not self._keeps_alive:
            headers.append((b"connection", b"close"))
        if self._scope["method"] == "HEAD" or status in _BODYLESS:
            self._left = 0
        elif self._left is None and b"transfer-encoding" not in names:
            self._chunked = self._scope["http_version"] == "1.1"
            if self._chunked:
                headers.append((b"transfer-encoding", b"chunked"))
            else:
                self._keeps_alive = False
        self._head = _head(status, [*self._leg.state.default_headers, *headers])
        self._begun = True
        self._leg.loop.call_soon(self._send_head)

    def _send_head(self) -> None:
        """Sends the head if no body has come at once."""
        if self._head and not self._gone:
            self._leg.transport.write(self._head)
        self._head = b""

    def _put(self, body: bytes, *, more: bool) -> None:
        if self._scope["method"] == "HEAD":
            body = b""
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("an answer is not as long as its content-length says")
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        if self._head:
            body, self._head = self._head + body, b""
        if body:
            self._leg.transport.write(body)
        if not more:
            self._done = True
            self._wake()
            if self._whole:
                self._leg.ended(keeps_alive=self._keeps_alive)
            else:
                self._leg.transport.resume_reading()
                self._leg.loop.call_later(LINGER, self._leg.transport.close)


def _head(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Raises `RuntimeError` if a header has a line break in it."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
        raise RuntimeError("a header of an answer has a line break in it")
    line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return line + lines + b"\r\n"
