"""One call of an emulated engine over HTTP, from its admission to the last byte or the client's leaving."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agentserve.engines.emulation.faults import DiesMidStream, Fault
from agentserve.engines.emulation.wires.base import Wire
from scheduler.types import Tokens, Usage
from simulator.request import Output

Outputs = AsyncGenerator[Output, None]


class _DiedError(Exception):
    """The exchange ends here, as the fault wants it."""


class Exchange(Response):
    """Answers with the tokens that `outputs` brings, and closes it, which aborts the call, if the client leaves."""

    def __init__(self, wire: Wire, prompt: Tokens, outputs: Outputs, fault: Fault | None) -> None:
        super().__init__(media_type=self.media_type)
        self._wire = wire
        self._prompt = prompt
        self._outputs = outputs
        self._dies_after = fault.after if isinstance(fault, DiesMidStream) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the exchange."""
        try:
            await _while_connected(receive, self._serve(send))
        except _DiedError:
            pass  # a server that finds the answer unfinished breaks the connection
        finally:
            await self._outputs.aclose()

    async def _serve(self, send: Send) -> None:
        raise NotImplementedError

    async def _start(self, send: Send, *headers: tuple[bytes, bytes]) -> None:
        content_type = (b"content-type", str(self.media_type).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [content_type, *headers]})

    def _spent(self, last: Output) -> Usage:
        return Usage(self._prompt, last.produced, last.cached)


class StreamedExchange(Exchange):
    """The answer as server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, wire: Wire, prompt: Tokens, outputs: Outputs, fault: Fault | None) -> None:
        super().__init__(wire, prompt, outputs, fault)
        self._sent = 0

    async def _serve(self, send: Send) -> None:
        await self._start(send)
        await self._events(send, self._wire.opening(self._prompt))
        async for output in self._outputs:
            await self._events(send, self._wire.token(output.produced - 1))
            if output.finished:
                await self._events(send, self._wire.closing(self._spent(output)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self, send: Send, events: list[bytes]) -> None:
        for event in events:
            if self._sent == self._dies_after:
                raise _DiedError
            self._sent += 1
            await send({"type": "http.response.body", "body": event, "more_body": True})


class WholeExchange(Exchange):
    """The answer in one piece."""

    media_type = "application/json"

    async def _serve(self, send: Send) -> None:
        async for output in self._outputs:
            if output.finished:
                body = json.dumps(self._wire.whole(self._spent(output))).encode()
                await self._start(send, (b"content-length", str(len(body)).encode()))
                if self._dies_after is not None:
                    raise _DiedError
                await send({"type": "http.response.body", "body": body})


async def _while_connected(receive: Receive, work: Coroutine[None, None, None]) -> None:
    """Does the work, or as much of it as is done when the client leaves."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(_client_leaves(receive))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            await tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
