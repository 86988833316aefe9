"""An engine without an engine: it answers from a script, and remembers what it was sent."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from agentserve.engines.base import EngineError, PinOrder, PinReport, Progress, Pulse, Take
from scheduler.types import EngineId, EngineSpec

SPEC = EngineSpec(models=("m",), kv_tokens=8192, block_size=32, max_model_len=4096, retention=True, priority=True)
Piece = bytes | Exception | asyncio.Event
"""Bytes to send, an error to raise, or an event to wait for."""


def event(payload: object) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def delta(**fields: object) -> bytes:
    return event({"id": "x", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


def usage(prompt: int, output: int, cached: int = 0) -> dict[str, object]:
    details = {"cached_tokens": cached}
    return {"prompt_tokens": prompt, "completion_tokens": output, "prompt_tokens_details": details}


ROLE = delta(role="assistant", content="")
WORDS = (delta(content="Hello"), delta(content=" world"))
STOP = event({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
USAGE = event({"id": "x", "choices": [], "usage": usage(12, 2)})
DONE = b"data: [DONE]\n\n"
STREAM = (ROLE, *WORDS, STOP, USAGE, DONE)
WHOLE = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello world"}, "finish_reason": "stop"}],
        "usage": {**usage(12, 2), "total_tokens": 14},
    }
).encode()


@dataclass
class FakeReply:
    pieces: Sequence[Piece]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    taken: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.taken += 1
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            elif isinstance(piece, Exception):
                raise piece
            else:
                yield piece

    async def relay(self, take: Take) -> None:
        async for piece in self.chunks():
            room = take(piece)
            if room is not None:
                await room()

    async def aclose(self) -> None:
        self.closed.set()


@dataclass
class Sent:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


class FakeEngine:
    """Answers with the scripted replies, then always with the same sentence."""

    url = "http://fake"

    def __init__(self, name: str = "a", spec: EngineSpec = SPEC) -> None:
        self.name = EngineId(name)
        self.spec = spec
        self.script: deque[FakeReply | EngineError | asyncio.Event] = deque()
        self.sent: list[Sent] = []
        self.replies: list[FakeReply] = []
        self.opened = asyncio.Event()
        self.left = asyncio.Event()
        """An exchange was ended before its head."""
        self.orders: list[PinOrder] = []
        self.reports: list[PinReport] = []
        self.asked = asyncio.Event()
        self.pin_failures = 0

    async def start(self, progress: Progress) -> EngineSpec:
        return self.spec

    def gone(self) -> str | None:
        return None

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> FakeReply:
        sent = Sent(path, headers, body)
        self.sent.append(sent)
        self.opened.set()
        answer = self.script.popleft() if self.script else _usual(sent)
        if isinstance(answer, asyncio.Event):
            await self._wait(answer)
            answer = _usual(sent)
        if isinstance(answer, EngineError):
            raise answer
        self.replies.append(answer)
        return answer

    async def _wait(self, until: asyncio.Event) -> None:
        try:
            await until.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise

    async def healthy(self) -> bool:
        return True

    async def observe(self) -> Pulse:
        return Pulse(running=0, waiting=0, kv_used=0)

    async def pin(self, orders: Sequence[PinOrder], epoch: int = 0) -> list[PinReport]:
        self.asked.set()
        if self.pin_failures:
            self.pin_failures -= 1
            raise EngineError("busy")
        self.orders += orders
        reports, self.reports = self.reports, []
        return reports

    async def stop(self) -> None:
        return


def _usual(sent: Sent) -> FakeReply:
    if sent.json.get("stream"):
        return FakeReply(STREAM, headers={"content-type": "text/event-stream"})
    return FakeReply([WHOLE], headers={"content-type": "application/json"})
