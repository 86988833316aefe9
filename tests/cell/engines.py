"""Emulated engines as processes of their own, each with a diary that outlives it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentserve.engines.emulated import KEEP_ALIVE
from agentserve.engines.emulation.app import EmulatedApp
from agentserve.engines.emulation.clock import EngineClock
from agentserve.vllm_plugin.epochs import HEADER
from simulator.engine import Engine, EngineConfig
from simulator.profile import CPU_SMOLLM2

CONFIG = EngineConfig(num_blocks=2048, block_size=32, max_model_len=8192, max_num_seqs=128, max_num_batched_tokens=4096)
GENERATION = "/v1/chat/completions"
PINS = "/agentserve/v1/pins"
OK = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a diary: what an engine saw, and when by the monotonic clock, which all processes share."""

    at: float
    what: str
    """`begun` and `ended` of a generation, `orders` of pins."""
    number: int
    """The `seed` of a generation, by which its sender knows it; the epoch of orders."""
    accepted: bool = True


class Diary:
    """Stands around an engine's routes and writes down what comes. A line is on disk before the next thing happens."""

    def __init__(self, app: ASGIApp, file: Path) -> None:
        self._app = app
        self._file = file.open("ab", buffering=0)

    def _note(self, what: str, number: int, *, accepted: bool = True) -> None:
        self._file.write(json.dumps([time.monotonic(), what, number, accepted]).encode() + b"\n")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == GENERATION:
            await self._generate(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == PINS:
            await self._order(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _generate(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        number = json.loads(body or b"{}").get("seed")
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return unread.pop() if unread else await receive()

        async def passed(message: Message) -> None:
            if number is not None and b"[DONE]" in message.get("body", b""):
                self._note("ended", number)
            await send(message)

        if number is not None:
            self._note("begun", number)
        await self._app(scope, again, passed)

    async def _order(self, scope: Scope, receive: Receive, send: Send) -> None:
        epoch = int(dict(scope["headers"]).get(HEADER.encode(), b"0"))

        async def passed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note("orders", epoch, accepted=message["status"] == OK)
            await send(message)

        await self._app(scope, receive, passed)


def read(file: Path) -> Iterator[Entry]:
    """A diary; the line that was being written when the engine was killed is left out."""
    for line in file.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield Entry(*json.loads(line))


def serve(port: int, speed: float, diary: Path) -> None:
    """Serves one engine until the process is killed."""
    asyncio.run(_serve(port, speed, diary))


async def _serve(port: int, speed: float, diary: Path) -> None:
    clock = EngineClock(Engine(CONFIG, CPU_SMOLLM2), speed)
    app: Any = Diary(EmulatedApp("m", clock, lambda: None).asgi, diary)
    # asyncio sends small pieces without delay only on sockets that name their protocol
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    settings = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=KEEP_ALIVE)
    stepping = asyncio.create_task(clock.run())
    await uvicorn.Server(settings).serve([listener])
    stepping.cancel()
