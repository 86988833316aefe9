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
        self._loop = asyncio.get_running_loop()
        self._sending_since: Seconds | None = None
        self._watch: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """The answer's head has been given; a status can no longer be chosen."""
        return self._task is not None

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begins the answer."""
        self._messages.append({"type": "http.response.start", "status": status, "headers": headers})
        self._task = asyncio.create_task(self._run())
        self._watch = self._loop.call_later(self._stall, self._check_stall)

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
        """Ends the answer and waits until all of it is sent, or given up."""
        self._messages.append({"type": "http.response.body", "body": b"", "more_body": False})
        self._ended = True
        self._filled.set()
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    def close(self) -> None:
        """Stops sending, where the answer's end is not awaited."""
        if self._task is not None:
            self._task.cancel()
        if self._watch is not None:
            self._watch.cancel()

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
        self._sending_since = self._loop.time()
        try:
            await self._send(message)
        except OSError:
            self._give_up(Cause.GONE)
            return False
        finally:
            self._sending_since = None
        return True

    def _check_stall(self) -> None:
        """Looks whether the present send takes too long, and else again when it would."""
        now = self._loop.time()
        since = now if self._sending_since is None else self._sending_since
        if now - since < self._stall:
            self._watch = self._loop.call_at(since + self._stall, self._check_stall)
            return
        self._give_up(Cause.STALLED)
        self.close()
