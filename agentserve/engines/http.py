"""The HTTP leg to one engine: streamed calls for clients, and short questions for ourselves. Nothing is retried.

Calls go by connections of our own (`calls`), on which a chunk costs a fraction of what it does by httpx or aiohttp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from agentserve.engines.base import EngineError
from agentserve.engines.calls import KEEPALIVE_EXPIRY, CallLeg, CallReply
from agentserve.engines.patience import patience
from scheduler.types import EngineId, Seconds

QUESTION_TIMEOUT = 10.0
"""Seconds for a question of ours. vLLM answers control questions between two steps, and a step may take a second."""

HEALTH_TIMEOUT = 5.0
"""Seconds for the health route, which vLLM answers without its engine."""

Shape = TypeVar("Shape", bound=BaseModel)

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY)


class HttpLeg:
    """A client of one engine. There may be any number of exchanges at a time: what waits, waits in the brain."""

    def __init__(self, engine: EngineId, url: str) -> None:
        self.engine = engine
        self.url = url
        # proxies of the environment are for the outside; compressed answers could not be read as they pass
        self._client = httpx.AsyncClient(
            timeout=None,  # noqa: S113 - `patience` limits what it waits for
            limits=_LIMITS,
            trust_env=False,
            headers={"accept-encoding": "identity"},
        )
        self._calls = CallLeg(engine, url)

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> CallReply:
        """POSTs a body and returns at the answer's head, however long that takes.

        Raises:
            EngineError: no answer came.
        """
        if self._client.is_closed:
            raise EngineError(f"engine {self.engine} has been stopped")
        if self._calls.url != self.url:  # one that is launched knows its port only then
            self._calls.close()
            self._calls = CallLeg(self.engine, self.url)
        return await self._calls.open(path, headers, body)

    async def get(self, path: str, limit: Seconds = QUESTION_TIMEOUT) -> httpx.Response:
        """Asks a short question.

        Raises:
            EngineError: no answer came within `limit`.
        """
        return await self._send(self._client.build_request("GET", self.url + path), limit)

    async def post(self, path: str, content: object, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Sends a short order as JSON.

        Raises:
            EngineError: no answer came within `QUESTION_TIMEOUT`.
        """
        request = self._client.build_request("POST", self.url + path, json=content, headers=headers)
        return await self._send(request, QUESTION_TIMEOUT)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._client.aclose()
        self._calls.close()

    async def _send(self, request: httpx.Request, limit: Seconds) -> httpx.Response:
        if self._client.is_closed:
            raise EngineError(f"engine {self.engine} has been stopped")
        try:
            async with patience(limit):
                return await self._client.send(request)
        except (httpx.TransportError, TimeoutError) as error:
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
