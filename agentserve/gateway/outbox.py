"""The client's leg of a streamed answer: a buffer before a reader that may be slow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from starlette.types import Message, Send

from agentserve.gateway.interrupt import Cause
from scheduler.types import Seconds

PIECE = 16 * 1024
"""Bytes sent at once, at most: a reader that takes so little within the stall time is slow, but not gone."""


class Outbox:
    """Sends a streamed answer as fast as its client reads.

    `give_up` is called, once, if a single send takes longer than `stall` seconds, or the connection breaks.
    """

    def __init__(self, send: Send, limit: int, stall: Seconds, give_up: Callable[[Cause], None]) -> None:
        self._send = send
        self._limit = limit
        self._stall = stall
        self._give_up = give_up
        self._messages: deque[Message] = deque()
        self._size = 0
        self._ended = False
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """The answer's head has been given; a status can no longer be chosen."""
        return self._task is not None

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begins the answer."""
        self._messages.append({"type": "http.response.start", "status": status, "headers": headers})
        self._task = asyncio.create_task(self._run())

    def put(self, data: bytes) -> None:
        """Adds to the answer, whatever is waiting already."""
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self._messages.append({"type": "http.response.body", "body": piece, "more_body": True})
        self._size += len(data)
        self._filled.set()

    @property
    def full(self) -> bool:
        """More is waiting than the reader may fall behind."""
        return self._size > self._limit

    async def room(self) -> None:
        """Waits until the outbox is no longer full."""
        while self.full:
            self._drained.clear()
            await self._drained.wait()

    async def end(self) -> None:
        """Ends the answer and waits until all of it is sent."""
        self._messages.append({"type": "http.response.body", "body": b"", "more_body": False})
        self._ended = True
        self._filled.set()
        if self._task is not None:
            await self._task

    def close(self) -> None:
        """Stops sending, where the answer's end is not awaited."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._messages or not self._ended:
            if not self._messages:
                self._filled.clear()
                await self._filled.wait()
                continue
            message = self._messages.popleft()
            if not await self._sent(message):
                return
            self._size -= len(message.get("body", b""))
            self._drained.set()

    async def _sent(self, message: Message) -> bool:
        try:
            async with asyncio.timeout(self._stall):
                await self._send(message)
        except TimeoutError:
            self._give_up(Cause.STALLED)
            return False
        except OSError:
            self._give_up(Cause.GONE)
            return False
        return True
