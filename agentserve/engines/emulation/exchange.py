"""One call of an emulated engine over HTTP, from its admission to the last byte or the client's leaving."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agentserve.engines.emulation.answers import Json, Wire, usage
from agentserve.engines.emulation.faults import DiesMidStream, Fault
from scheduler.types import Tokens
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

    def _usage(self, last: Output) -> Json:
        return usage(self._prompt, last.produced, last.cached)


class StreamedExchange(Exchange):
    """The answer as server-sent events, one chunk a token."""

    media_type = "text/event-stream"

    def __init__(
        self, wire: Wire, prompt: Tokens, outputs: Outputs, fault: Fault | None, *, include_usage: bool
    ) -> None:
        super().__init__(wire, prompt, outputs, fault)
        self._include_usage = include_usage
        self._sent = 0

    async def _serve(self, send: Send) -> None:
        await self._start(send)
        async for output in self._outputs:
            for chunk in self._wire.chunks(output.produced - 1):
                await self._event(send, json.dumps(chunk))
            if output.finished and self._include_usage:
                await self._event(send, json.dumps(self._wire.closing(self._usage(output))))
        await self._event(send, "[DONE]", more=False)

    async def _event(self, send: Send, data: str, *, more: bool = True) -> None:
        if self._sent == self._dies_after:
            raise _DiedError
        self._sent += 1
        await send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": more})


class WholeExchange(Exchange):
    """The answer in one piece."""

    media_type = "application/json"

    async def _serve(self, send: Send) -> None:
        async for output in self._outputs:
            if output.finished:
                body = json.dumps(self._wire.whole(self._usage(output))).encode()
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
