"""A small OpenAI-compatible server in the test's own event loop, which answers as it is told and keeps what it saw."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


class Body(BaseModel, extra="allow"):
    """A request's body, as far as the mock reads it."""

    messages: list[dict[str, str]]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came."""

    headers: dict[str, str]
    body: Body
    sent: dict[str, object]


Answer = Callable[[Seen], list[str]]
"""Makes the lines of a streamed answer; an empty list means HTTP 503."""


def event(**fields: object) -> str:
    return f"data: {json.dumps(fields)}"


def token(content: str, finish: str | None = None) -> str:
    return event(choices=[{"index": 0, "delta": {"content": content}, "finish_reason": finish}])


def usage(prompt: int, output: int, cached: int) -> str:
    details = {"cached_tokens": cached}
    return event(
        choices=[], usage={"prompt_tokens": prompt, "completion_tokens": output, "prompt_tokens_details": details}
    )


def full_answer(seen: Seen) -> list[str]:
    """As many tokens as asked for, counted as words, with the comment and the role chunk that real servers send."""
    words = sum(len(message["content"].split()) for message in seen.body.messages)
    head = [": keep-alive", event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])]
    tokens = [token(f" t{index}") for index in range(seen.body.max_tokens - 1)]
    return [*head, *tokens, token(" end", "length"), usage(words, seen.body.max_tokens, words // 2), "data: [DONE]"]


@dataclass(slots=True)
class MockServer:
    """What the tests set (the answer, a gate that holds streams back) and what they read (`seen`)."""

    url: str = ""
    answer: Answer = full_answer
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[Seen] = field(default_factory=list)

    async def chat(self, request: Request) -> Response:
        raw = await request.body()
        seen = Seen(dict(request.headers), Body.model_validate_json(raw), json.loads(raw))
        self.seen.append(seen)
        lines = self.answer(seen)
        if not lines:
            return PlainTextResponse("no room", 503)
        headers = {"x-agentserve-engine": "a", "x-agentserve-queue-ms": "250", "x-agentserve-why": "queued"}
        return StreamingResponse(self._stream(lines), media_type="text/event-stream", headers=headers)

    async def _stream(self, lines: list[str]) -> AsyncIterator[str]:
        for line in lines[:-2]:
            yield f"{line}\n\n"
        await self.gate.wait()
        for line in lines[-2:]:
            yield f"{line}\n\n"

    async def tokenize(self, request: Request) -> Response:
        """Two tokens a word, and seven around a message."""
        body = await request.json()
        if "prompt" in body:
            return JSONResponse({"count": 2 * len(body["prompt"].split())})
        return JSONResponse({"count": sum(7 + 2 * len(message["content"].split()) for message in body["messages"])})


@asynccontextmanager
async def serve() -> AsyncIterator[MockServer]:
    """Runs a mock on a free loopback port; its gate is open."""
    mock = MockServer()
    mock.gate.set()
    routes = [
        Route("/v1/chat/completions", mock.chat, methods=["POST"]),
        Route("/tokenize", mock.tokenize, methods=["POST"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off", ws="none")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mock.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield mock
        finally:
            mock.gate.set()
            server.should_exit = True
            await task
