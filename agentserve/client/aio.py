"""The same as `sync`, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import Token
from time import monotonic
from types import TracebackType
from typing import Any, Self

import httpx

from agentserve.client.aio_rollouts import AsyncRollouts
from agentserve.client.answer import Answer, TextStream, read_answer
from agentserve.client.base import DEFAULT_URL, Ahead, Messages, ProgramBase, body, options
from agentserve.client.current import Running, enter, leave
from agentserve.client.errors import AgentserveError, refused, unreachable
from agentserve.client.notices import AsyncNotices
from agentserve.client.retries import Retries
from agentserve.client.workflows import ROUTE, Stage, declaration


class AsyncProgram(ProgramBase):
    """`Program` for asyncio."""

    def __init__(
        self,
        client: AsyncClient,
        name: str | None = None,
        workflow: str | None = None,
        parent: str | None = None,
        deadline: float | None = None,
    ) -> None:
        super().__init__(client._notices.tell, client.base_url, name, workflow, parent, deadline)
        self._client = client
        self._token: Token[Running | None] | None = None

    async def chat(
        self,
        messages: Messages,
        *,
        stage: str | None = None,
        final: bool = False,
        ahead: Ahead | None = None,
        **fields: Any,
    ) -> Answer:
        """As `Program.chat`."""
        began = monotonic()
        sent = body(messages, fields)
        return read_answer(await self._send(lambda: self.headers(stage, final, ahead), sent, stream=False), began)

    async def stream(
        self,
        messages: Messages,
        *,
        stage: str | None = None,
        final: bool = False,
        ahead: Ahead | None = None,
        **fields: Any,
    ) -> AsyncIterator[str]:
        """As `Program.stream`."""
        sent = body(messages, fields) | {"stream": True}
        response = await self._send(lambda: self.headers(stage, final, ahead), sent, stream=True)
        try:
            if response.is_error:
                await response.aread()
                raise refused(response)
            reader = TextStream()
            async for line in response.aiter_lines():
                if piece := reader.feed(line):
                    yield piece
            reader.end()
        except httpx.TransportError as error:
            raise unreachable(response.request, error) from error
        finally:
            await response.aclose()

    async def chats(self, prompts: Sequence[Messages], *, stage: str | None = None, **fields: Any) -> list[Answer]:
        """As `Program.chats`, but when one fails the others are given up at once."""
        ahead = Ahead(siblings=max(0, len(prompts) - 1))
        try:
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(self.chat(each, stage=stage, ahead=ahead, **fields)) for each in prompts]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [call.result() for call in calls]

    def child(self, id: str | None = None, workflow: str | None = None, deadline: float | None = None) -> AsyncProgram:  # noqa: A002
        """As `Program.child`."""
        return AsyncProgram(self._client, id, workflow, self.id, self._child_deadline(deadline))

    async def end(self) -> None:
        """Tells the gateway that no more calls will come."""
        self._client._notices.forget(self.id)
        response = await self._client._send(self._end(self._client._http))
        if response.is_error and response.status_code != httpx.codes.NOT_FOUND:  # no call came, or it has ended
            raise refused(response)

    async def __aenter__(self) -> Self:
        self._token = enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            leave(self._token)
        try:
            await self.end()
        except AgentserveError:
            if error is None:
                raise

    async def _send(
        self, headers: Callable[[], dict[str, str]], fields: dict[str, Any], *, stream: bool
    ) -> httpx.Response:
        """Sends a call until it is answered, or is not to be sent again."""
        client, attempt = self._client, 1
        while True:
            response = await client._send(self._call(client._http, headers(), fields), stream=stream)
            pause = self._pause(client.retries, response, attempt)
            if pause is None:
                return response
            await response.aclose()
            await client._sleep(pause)
            attempt += 1


class AsyncClient:
    """`Client` for asyncio."""

    def __init__(
        self, base_url: str = DEFAULT_URL, api_key: str | None = None, *, retries: Retries | None = None
    ) -> None:
        """As `Client`."""
        made = options(base_url, api_key)
        self.base_url = str(made["base_url"])
        self.retries = retries or Retries()
        self._http = httpx.AsyncClient(**made)
        self._notices = AsyncNotices(lambda: self._http)
        self._sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def program(
        self,
        id: str | None = None,  # noqa: A002
        workflow: str | None = None,
        parent: str | None = None,
        deadline: float | None = None,
    ) -> AsyncProgram:
        """As `Client.program`."""
        return AsyncProgram(self, id, workflow, parent, deadline)

    def rollouts(self, model: str) -> AsyncRollouts:
        """As `Client.rollouts`."""
        return AsyncRollouts(self, model)

    async def declare(self, workflow: str, stages: Mapping[str, Stage], slo: float | None = None) -> None:
        """As `Client.declare`."""
        response = await self._send(self._http.build_request("POST", ROUTE, json=declaration(workflow, stages, slo)))
        if response.is_error:
            raise refused(response)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._notices.aclose()
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        try:
            return await self._http.send(request, stream=stream)
        except httpx.TransportError as error:
            raise unreachable(request, error) from error
