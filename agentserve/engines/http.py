"""The HTTP leg to one engine: streamed calls for clients, and short questions for ourselves. Nothing is retried.

Calls go by aiohttp, whose parser is C: a chunk costs a seventh of what it does by httpx at 50 streams, a tenth at 300.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

import aiohttp
import httpx
from pydantic import BaseModel, ValidationError

from agentserve.engines.base import EngineError
from scheduler.types import EngineId, Seconds

QUESTION_TIMEOUT = 10.0
"""Seconds for a question of ours. vLLM answers control questions between two steps, and a step may take a second."""

HEALTH_TIMEOUT = 5.0
"""Seconds for the health route, which vLLM answers without its engine."""

KEEPALIVE_EXPIRY = 4.0
"""Seconds an idle connection is kept: below the 5 s after which vLLM closes it, so that none is used as it closes."""

LARGE_BODY = 1 << 20

Shape = TypeVar("Shape", bound=BaseModel)

_TIMEOUT = httpx.Timeout(QUESTION_TIMEOUT, connect=5.0, pool=None)
_CALL_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY)


class HttpReply:
    """An answer whose head has arrived (`base.Reply`)."""

    def __init__(self, engine: EngineId, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._engine = engine
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in the pieces it comes in. Raises `EngineError` if the connection breaks."""
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise EngineError(f"engine {self._engine} broke off in the middle of its answer: {error!r}") from error

    async def aclose(self) -> None:
        """Ends the exchange; the engine sees the connection close and aborts what is still running."""
        self._response.close()


class HttpLeg:
    """A client of one engine. There may be any number of exchanges at a time: what waits, waits in the brain."""

    def __init__(self, engine: EngineId, url: str) -> None:
        self.engine = engine
        self.url = url
        # proxies of the environment are for the outside; compressed answers could not be read as they pass
        self._client = httpx.AsyncClient(
            timeout=_TIMEOUT, limits=_LIMITS, trust_env=False, headers={"accept-encoding": "identity"}
        )
        self._calls: aiohttp.ClientSession | None = None

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> HttpReply:
        """POSTs a body and returns at the answer's head, however long that takes.

        Raises:
            EngineError: no answer came.
        """
        if self._client.is_closed:
            raise EngineError(f"engine {self.engine} has been stopped")
        url = self.url + path
        # a large body is written piece by piece, so that it does not hold up the event loop
        data = io.BytesIO(body) if len(body) > LARGE_BODY else body
        try:
            return HttpReply(self.engine, await self._session().post(url, headers=headers, data=data))
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise EngineError(f"engine {self.engine} gave no answer to POST {url}: {reason}") from error

    async def get(self, path: str, limit: Seconds = QUESTION_TIMEOUT) -> httpx.Response:
        """Asks a short question, given up after `limit` seconds of silence.

        Raises:
            EngineError: no answer came.
        """
        return await self._send(self._client.build_request("GET", self.url + path, timeout=limit))

    async def post(self, path: str, content: object) -> httpx.Response:
        """Sends a short order as JSON.

        Raises:
            EngineError: no answer came.
        """
        return await self._send(self._client.build_request("POST", self.url + path, json=content))

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._client.aclose()
        if self._calls is not None:
            await self._calls.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._calls is None:  # it belongs to the event loop that it is made in
            self._calls = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_EXPIRY),
                timeout=_CALL_TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"accept-encoding": "identity"},
                auto_decompress=False,
            )
        return self._calls

    async def _send(self, request: httpx.Request, stream: bool = False) -> httpx.Response:
        if self._client.is_closed:
            raise EngineError(f"engine {self.engine} has been stopped")
        try:
            return await self._client.send(request, stream=stream)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            message = f"engine {self.engine} gave no answer to {request.method} {request.url}: {reason}"
            raise EngineError(message) from error


def read(engine: EngineId, answer: httpx.Response, shape: type[Shape]) -> Shape:
    """The body of an answer of status 200.

    Raises:
        EngineError: it has another status, or another shape.
    """
    if answer.status_code == httpx.codes.OK:
        try:
            return shape.model_validate_json(answer.content)
        except ValidationError:
            pass
    start = answer.text[:200].strip() or "(empty)"
    raise EngineError(f"engine {engine} answered {answer.request.url} with status {answer.status_code}: {start}")
