"""The SDK: programs and their calls, for agents that want to say more than a base URL can.

    with Client("http://127.0.0.1:8000").program(workflow="fix-bug") as program:
        answer = program.chat(messages, model="smollm2", stage="plan")

`program.chats([messages, messages], ...)` sends several calls at the same time. `program.headers()` does the same for
any other client: pass it as the OpenAI SDK's `extra_headers`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

DEFAULT_URL = "http://127.0.0.1:8000"

_TIMEOUT = httpx.Timeout(None, connect=10.0)  # an answer takes as long as it takes, and the gateway says when it failed
_LIMITS = httpx.Limits(max_connections=None, keepalive_expiry=2.0)  # servers close idle connections after 5 s


class AgentserveError(Exception):
    """The gateway refused, failed or could not be reached. `status` is its HTTP status, None if no answer came."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Answer(dict[str, Any]):
    """A chat completion's JSON, with what the gateway and the clock say of it.

    Attributes:
        seconds: from sending the call to the end of its answer.
        engine: the name of the engine that answered; None if no agentserve gateway did.
        queue_seconds: how long the gateway held the call back before it sent it on; None as for `engine`.
    """

    __slots__ = ("engine", "queue_seconds", "seconds")

    def __init__(self, fields: Mapping[str, Any], seconds: float, headers: Mapping[str, str]) -> None:
        super().__init__(fields)
        self.seconds = seconds
        self.engine = headers.get("x-agentserve-engine")
        queue = headers.get("x-agentserve-queue-ms", "")
        self.queue_seconds = int(queue) / 1000 if queue.isdecimal() else None

    @property
    def text(self) -> str:
        """The first choice's text; empty if it has none."""
        return str(self["choices"][0]["message"].get("content") or "")


class _Program:
    """What a program tells the gateway with each of its calls, whichever way they are sent."""

    def __init__(self, name: str | None, workflow: str | None, parent: str | None, deadline: float | None) -> None:
        self.id = name or uuid.uuid4().hex
        self._fixed = {"x-agentserve-program": self.id}
        if workflow:
            self._fixed["x-agentserve-workflow"] = workflow
        if parent:
            self._fixed["x-agentserve-parent"] = parent
        self._deadline = None if deadline is None else time.monotonic() + deadline

    def headers(self, stage: str | None = None, final: bool = False) -> dict[str, str]:
        """The headers that make a request the program's next call.

        `stage` names the step of the workflow; `final` says that it is the last call, so that nothing is kept for
        another. A deadline counts down from the program's start.
        """
        headers = dict(self._fixed)
        if stage:
            headers["x-agentserve-stage"] = stage
        if final:
            headers["x-agentserve-final"] = "true"
        if self._deadline is not None:
            left = round((self._deadline - time.monotonic()) * 1000)
            headers["x-agentserve-deadline-ms"] = str(max(1, left))
        return headers

    def _call(
        self, http: httpx.Client | httpx.AsyncClient, headers: dict[str, str], fields: dict[str, Any]
    ) -> httpx.Request:
        if fields.get("stream"):
            raise ValueError("chat() returns whole answers; to stream, pass program.headers() to the OpenAI SDK")
        return http.build_request(
            "POST", "/v1/chat/completions", json=fields, headers=httpx.Headers(headers, encoding="utf-8")
        )

    def _end(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        return http.build_request("DELETE", f"/agentserve/v1/programs/{quote(self.id, safe='')}")


class Program(_Program):
    """One agent run. Leaving its `with` block ends it, so that its KV need not be kept any longer."""

    def __init__(
        self, client: Client, name: str | None, workflow: str | None, parent: str | None, deadline: float | None
    ) -> None:
        super().__init__(name, workflow, parent, deadline)
        self._client = client

    def chat(
        self, messages: Sequence[dict[str, Any]], *, stage: str | None = None, final: bool = False, **fields: Any
    ) -> Answer:
        """Sends one chat completion and returns its JSON; `fields` are the API's own (`model`, `tools`, ...).

        Raises:
            AgentserveError: the gateway refused, failed or could not be reached.
            ValueError: `stream` was asked for.
        """
        body = {"messages": list(messages), **fields}
        began = time.monotonic()
        return _answer(self._client._send(self._call(self._client._http, self.headers(stage, final), body)), began)

    def chats(
        self, prompts: Sequence[Sequence[dict[str, Any]]], *, stage: str | None = None, **fields: Any
    ) -> list[Answer]:
        """Sends a chat completion for each of the prompts at the same time; the answers have the prompts' order.

        Raises:
            AgentserveError: as `chat`, when all others have ended.
            ValueError: as `chat`.
        """
        if not prompts:
            return []
        with ThreadPoolExecutor(len(prompts), "agentserve-chats") as threads:
            return list(threads.map(lambda messages: self.chat(messages, stage=stage, **fields), prompts))

    def end(self) -> None:
        """Tells the gateway that no more calls will come."""
        _ended(self._client._send(self._end(self._client._http)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.end()
        except AgentserveError:
            if error is None:
                raise


class Client:
    """A connection to a gateway; also a context manager that closes it."""

    def __init__(self, base_url: str = DEFAULT_URL, api_key: str | None = None) -> None:
        self._http = httpx.Client(**_options(base_url, api_key))

    def program(
        self,
        id: str | None = None,  # noqa: A002
        workflow: str | None = None,
        parent: str | None = None,
        deadline: float | None = None,
    ) -> Program:
        """Begins a program: `id` is chosen where none is given, `parent` is the id of the program that started it,
        `deadline` the seconds from now within which it should be done.
        """
        return Program(self, id, workflow, parent, deadline)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._http.send(request)
        except httpx.TransportError as error:
            raise _unreachable(request, error) from error


class AsyncProgram(_Program):
    """`Program` for asyncio."""

    def __init__(
        self, client: AsyncClient, name: str | None, workflow: str | None, parent: str | None, deadline: float | None
    ) -> None:
        super().__init__(name, workflow, parent, deadline)
        self._client = client

    async def chat(
        self, messages: Sequence[dict[str, Any]], *, stage: str | None = None, final: bool = False, **fields: Any
    ) -> Answer:
        """As `Program.chat`."""
        body = {"messages": list(messages), **fields}
        began = time.monotonic()
        response = await self._client._send(self._call(self._client._http, self.headers(stage, final), body))
        return _answer(response, began)

    async def chats(
        self, prompts: Sequence[Sequence[dict[str, Any]]], *, stage: str | None = None, **fields: Any
    ) -> list[Answer]:
        """As `Program.chats`, but when one fails the others are given up at once."""
        try:
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(self.chat(messages, stage=stage, **fields)) for messages in prompts]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [call.result() for call in calls]

    async def end(self) -> None:
        """Tells the gateway that no more calls will come."""
        _ended(await self._client._send(self._end(self._client._http)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.end()
        except AgentserveError:
            if error is None:
                raise


class AsyncClient:
    """`Client` for asyncio."""

    def __init__(self, base_url: str = DEFAULT_URL, api_key: str | None = None) -> None:
        self._http = httpx.AsyncClient(**_options(base_url, api_key))

    def program(
        self,
        id: str | None = None,  # noqa: A002
        workflow: str | None = None,
        parent: str | None = None,
        deadline: float | None = None,
    ) -> AsyncProgram:
        """As `Client.program`."""
        return AsyncProgram(self, id, workflow, parent, deadline)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._http.send(request)
        except httpx.TransportError as error:
            raise _unreachable(request, error) from error


def _options(base_url: str, api_key: str | None) -> dict[str, Any]:
    root = base_url.rstrip("/").removesuffix("/v1")
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    return {"base_url": root, "headers": headers, "timeout": _TIMEOUT, "limits": _LIMITS}


def _unreachable(request: httpx.Request, error: httpx.TransportError) -> AgentserveError:
    return AgentserveError(f"no answer from the gateway at {request.url}: {error or type(error).__name__}")


def _answer(response: httpx.Response, began: float) -> Answer:
    if response.is_error:
        raise _error(response)
    try:
        fields: dict[str, Any] = response.json()
    except ValueError:
        raise _error(response) from None
    return Answer(fields, time.monotonic() - began, response.headers)


def _ended(response: httpx.Response) -> None:
    if response.is_error and response.status_code != httpx.codes.NOT_FOUND:  # it made no call, or has ended already
        raise _error(response)


def _error(response: httpx.Response) -> AgentserveError:
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = response.text[:500] or response.reason_phrase
    return AgentserveError(message, response.status_code)
