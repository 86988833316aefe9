"""The client's leg of a streamed answer: a buffer before a reader that may be slow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator

from starlette.types import Message, Send

from agentserve.gateway.interrupt import Cause
from scheduler.types import Seconds

PIECE = 16 * 1024
"""Bytes sent at once, at most: a reader that takes so little within the stall time is slow, but not gone."""


class Outbox:
    """Sends a streamed answer as fast as its client reads.

    While the client keeps up, `put` sends at once, without waking a task. `give_up` is called, once, if a single send
    takes longer than `stall` seconds, or the connection breaks.
    """

    def __init__(self, send: Send, limit: int, stall: Seconds, give_up: Callable[[Cause], None]) -> None:
        self._send = send
        self._limit = limit
        self._stall = stall
        self._give_up = give_up
        self._messages: deque[Message] = deque()
        self._size = 0
        self._begun = False
        self._ended = False
        self._broken = False
        self._drained = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        """Sends what is waiting, while the client does not keep up."""
        self._watch: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """The answer's head has been given; a status can no longer be chosen."""
        return self._begun

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begins the answer."""
        self._begun = True
        self._add({"type": "http.response.start", "status": status, "headers": headers})

    def put_whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Gives a whole answer, which has not begun."""
        self.start(status, headers)
        if len(body) <= PIECE:
            self._ended = True
            self._add({"type": "http.response.body", "body": body, "more_body": False})
        else:
            self.put(body)

    def put(self, data: bytes) -> None:
        """Adds to the answer, whatever is waiting already."""
        if len(data) <= PIECE:
            message: Message = {"type": "http.response.body", "body": data, "more_body": True}
            if self._task is None and not self._broken:
                self._begin(message)
            else:
                self._add(message)
            return
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self._add({"type": "http.response.body", "body": piece, "more_body": True})

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
        if self._begun and not self._ended:
            self._add({"type": "http.response.body", "body": b"", "more_body": False})
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    def close(self) -> None:
        """Stops sending, where the answer's end is not awaited."""
        self._broken = True
        if self._task is not None:
            self._task.cancel()
        self._stop_watching()

    def _add(self, message: Message) -> None:
        """Sends a message at once if the client has taken all others; else it waits."""
        if self._task is not None and not self._task.done():
            self._messages.append(message)
            self._size += len(message.get("body", b""))
        elif not self._broken:
            self._begin(message)

    def _begin(self, message: Message) -> None:
        sending = self._send(message).__await__()
        try:
            waits_for = next(sending)
        except StopIteration:
            return
        except OSError:
            self._broken = True
            self._give_up(Cause.GONE)
            return
        self._size += len(message.get("body", b""))
        self._task = asyncio.create_task(self._go_on(sending, waits_for, message))

    async def _go_on(self, sending: Generator[object, None, None], waits_for: object, message: Message) -> None:
        """Ends a send that has to wait, then sends what has come meanwhile."""
        try:
            self._watch_stall()
            await _Begun(sending, waits_for)
            self._sent(message)
            while self._messages:
                message = self._messages.popleft()
                self._watch_stall()
                await self._send(message)
                self._sent(message)
        except OSError:
            self._broken = True
            self._give_up(Cause.GONE)
        finally:
            self._stop_watching()

    def _sent(self, message: Message) -> None:
        self._size -= len(message.get("body", b""))
        self._drained.set()

    def _watch_stall(self) -> None:
        """Gives the present send its time."""
        self._stop_watching()
        self._watch = asyncio.get_running_loop().call_later(self._stall, self._stalled)

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _stalled(self) -> None:
        self._give_up(Cause.STALLED)
        self.close()


class _Begun:
    """An awaitable that goes on where a coroutine was stepped to."""

    def __init__(self, rest: Generator[object, None, None], waits_for: object) -> None:
        self._rest = rest
        self._waits_for = waits_for

    def __await__(self) -> Generator[object, None, None]:
        """Waits for what the first step waited for, then does the rest."""
        yield self._waits_for
        yield from self._rest
