"""What agents tell the gateway in passing: sent in the background, the latest word only, and never an error.

A notice that comes late or not at all costs the gateway a guess, so no agent waits for one or fails by one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx

Notice = Mapping[str, object]

_TIMEOUT = 5.0
_GATHER = 0.01
"""Seconds before something is sent: of a tool that takes no longer nothing need be said."""


class Pending:
    """Notices not sent yet, by program. A newer one replaces what an older one says of the same thing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notices: dict[str, dict[str, object]] = {}
        self._sending = False
        self._told: set[str] = set()
        """Programs of which it was said last that a tool runs."""

    def put(self, program: str, notice: Notice) -> bool:
        """Whether somebody has to begin to send."""
        with self._lock:
            kept = self._notices.setdefault(program, {})
            kept.update(notice)
            if "tool_started" in notice:
                kept.pop("tool_ended", None)
            if "tool_ended" in notice:
                kept.pop("tool_started", None)
                if program not in self._told:
                    del kept["tool_ended"]
            begin, self._sending = not self._sending, True
            return begin

    def take(self) -> tuple[str, dict[str, object]] | None:
        """The next one; None if there is none, and nobody sends any more."""
        with self._lock:
            while self._notices:
                program, notice = self._notices.popitem()
                if "tool_started" in notice:
                    self._told.add(program)
                if "tool_ended" in notice:
                    self._told.discard(program)
                if notice:
                    return program, notice
            self._sending = False
            return None

    def forget(self, program: str) -> None:
        """The program has ended: nobody wants to know."""
        with self._lock:
            self._notices.pop(program, None)
            self._told.discard(program)


def path(program: str) -> str:
    """The control route of a program."""
    return f"/agentserve/v1/programs/{quote(program, safe='')}"


class Notices:
    """Sends them from one thread, which there is once something was said."""

    def __init__(self, http: Callable[[], httpx.Client]) -> None:
        self._http = http
        self._pending = Pending()
        self._thread: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None

    def tell(self, program: str, notice: Notice) -> None:
        """Sends it soon."""
        if self._pending.put(program, notice):
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "agentserve-notices")
            self._last = self._thread.submit(self._send)

    def forget(self, program: str) -> None:
        """The program has ended."""
        self._pending.forget(program)

    def close(self) -> None:
        """Sends what is left, and ends the thread."""
        if self._thread is not None:
            self._thread.shutdown()

    def _send(self) -> None:
        time.sleep(_GATHER)
        while taken := self._pending.take():
            program, notice = taken
            try:
                self._http().post(f"{path(program)}/hints", json=notice, timeout=_TIMEOUT)
            except (httpx.HTTPError, RuntimeError):  # RuntimeError: the client was closed
                pass


class AsyncNotices:
    """Sends them from one task, which there is while there is something to say."""

    def __init__(self, http: Callable[[], httpx.AsyncClient]) -> None:
        self._http = http
        self._pending = Pending()
        self._task: asyncio.Task[Any] | None = None

    def tell(self, program: str, notice: Notice) -> None:
        """Sends it soon."""
        if self._pending.put(program, notice):
            self._task = asyncio.get_running_loop().create_task(self._send())

    def forget(self, program: str) -> None:
        """The program has ended."""
        self._pending.forget(program)

    async def aclose(self) -> None:
        """Sends what is left."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _send(self) -> None:
        await asyncio.sleep(_GATHER)
        while taken := self._pending.take():
            program, notice = taken
            try:
                await self._http().post(f"{path(program)}/hints", json=notice, timeout=_TIMEOUT)
            except (httpx.HTTPError, RuntimeError):
                pass
