"""Programs and their calls, for agents that block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Token, copy_context
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx

from agentserve.client.answer import Answer, TextStream, read_answer
from agentserve.client.base import DEFAULT_URL, Ahead, Messages, ProgramBase, body, options
from agentserve.client.current import Running, enter, leave
from agentserve.client.errors import AgentserveError, refused, unreachable
from agentserve.client.notices import Notices
from agentserve.client.retries import Retries
from agentserve.client.rollouts import Rollouts
from agentserve.client.workflows import ROUTE, Stage, declaration


class Program(ProgramBase):
    """One agent run. Leaving its `with` block ends it, so that its KV need not be kept any longer."""

    def __init__(
        self,
        client: Client,
        name: str | None = None,
        workflow: str | None = None,
        parent: str | None = None,
        deadline: float | None = None,
    ) -> None:
        super().__init__(client._notices.tell, client.base_url, name, workflow, parent, deadline)
        self._client = client
        self._token: Token[Running | None] | None = None

    def chat(
        self,
        messages: Messages,
        *,
        stage: str | None = None,
        final: bool = False,
        ahead: Ahead | None = None,
        **fields: Any,
    ) -> Answer:
        """Sends one chat completion and returns its JSON; `fields` are the API's own (`model`, `tools`, ...).

        Where the gateway says when to come again, it is sent again then (`Client(retries=...)`).

        Raises:
            AgentserveError: the gateway refused, failed or could not be reached.
            ValueError: `stream` was asked for.
        """
        began = time.monotonic()
        sent = body(messages, fields)
        return read_answer(self._send(lambda: self.headers(stage, final, ahead), sent, stream=False), began)

    def stream(
        self,
        messages: Messages,
        *,
        stage: str | None = None,
        final: bool = False,
        ahead: Ahead | None = None,
        **fields: Any,
    ) -> Iterator[str]:
        """Sends one chat completion and yields the pieces of its text as they come.

        Raises:
            AgentserveError: as `chat`, or the stream broke off.
        """
        sent = body(messages, fields) | {"stream": True}
        response = self._send(lambda: self.headers(stage, final, ahead), sent, stream=True)
        try:
            if response.is_error:
                response.read()
                raise refused(response)
            reader = TextStream()
            for line in response.iter_lines():
                if piece := reader.feed(line):
                    yield piece
            reader.end()
        except httpx.TransportError as error:
            raise unreachable(response.request, error) from error
        finally:
            response.close()

    def chats(self, prompts: Sequence[Messages], *, stage: str | None = None, **fields: Any) -> list[Answer]:
        """Sends a chat completion for each of the prompts at the same time; the answers have the prompts' order.

        Raises:
            AgentserveError: as `chat`, when all others have ended.
            ValueError: as `chat`.
        """
        if not prompts:
            return []
        ahead = Ahead(siblings=len(prompts) - 1)
        with ThreadPoolExecutor(len(prompts), "agentserve-chats") as threads:
            chat = partial(self.chat, stage=stage, ahead=ahead, **fields)
            calls = [threads.submit(copy_context().run, partial(chat, messages)) for messages in prompts]
            return [call.result() for call in calls]

    def child(self, id: str | None = None, workflow: str | None = None, deadline: float | None = None) -> Program:  # noqa: A002
        """Begins a sub-program, with this one's deadline or an earlier one."""
        return Program(self._client, id, workflow, self.id, self._child_deadline(deadline))

    def end(self) -> None:
        """Tells the gateway that no more calls will come."""
        self._client._notices.forget(self.id)
        response = self._client._send(self._end(self._client._http))
        if response.is_error and response.status_code != httpx.codes.NOT_FOUND:  # no call came, or it has ended
            raise refused(response)

    def __enter__(self) -> Self:
        self._token = enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            leave(self._token)
        try:
            self.end()
        except AgentserveError:
            if error is None:
                raise

    def _send(self, headers: Callable[[], dict[str, str]], fields: dict[str, Any], *, stream: bool) -> httpx.Response:
        """Sends a call until it is answered, or is not to be sent again."""
        client, attempt = self._client, 1
        while True:
            response = client._send(self._call(client._http, headers(), fields), stream=stream)
            pause = self._pause(client.retries, response, attempt)
            if pause is None:
                return response
            response.close()
            client._sleep(pause)
            attempt += 1


class Client:
    """A connection to a gateway; also a context manager that closes it."""

    def __init__(
        self, base_url: str = DEFAULT_URL, api_key: str | None = None, *, retries: Retries | None = None
    ) -> None:
        """`retries` says how often calls are sent again that the gateway refused for now; twice by default."""
        made = options(base_url, api_key)
        self.base_url = str(made["base_url"])
        self.retries = retries or Retries()
        self._http = httpx.Client(**made)
        self._notices = Notices(lambda: self._http)
        self._sleep: Callable[[float], None] = time.sleep

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

    def rollouts(self, model: str) -> Rollouts:
        """Groups of samples and weights of a model, for trainers."""
        return Rollouts(self, model)

    def declare(self, workflow: str, stages: Mapping[str, Stage], slo: float | None = None) -> None:
        """Declares a workflow, in place of an earlier one of that name: its stages in any order, and the seconds that a
        program of it has where it says no deadline. Where there are API keys, it takes an admin's.

        Raises:
            AgentserveError: the gateway refused it (a cycle, an unknown stage, an objective of zero), or was not reached.
        """
        response = self._send(self._http.build_request("POST", ROUTE, json=declaration(workflow, stages, slo)))
        if response.is_error:
            raise refused(response)

    def close(self) -> None:
        """Closes the connections."""
        self._notices.close()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        try:
            return self._http.send(request, stream=stream)
        except httpx.TransportError as error:
            raise unreachable(request, error) from error
