"""Ends a wait for an engine that lasts too long, at the price of two assignments a chunk."""

from __future__ import annotations

import asyncio

from agentserve.gateway.interrupt import Cause, Interruptible
from scheduler.types import Seconds


class Watchdog:
    """Watches one part at a time; its timer is set anew only where it would ring too late, and when it rings."""

    def __init__(self, part: Interruptible) -> None:
        self._part = part
        self._loop = asyncio.get_running_loop()
        self._deadline: Seconds | None = None
        self._cause = Cause.SILENT
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, within: Seconds, cause: Cause) -> None:
        """Something has to come within so many seconds, or the part ends because of `cause`."""
        self._deadline = deadline = self._loop.time() + within
        self._cause = cause
        if self._timer is None or self._timer.when() > deadline:
            self._set(deadline)

    def rest(self) -> None:
        """Nothing has to come now."""
        self._deadline = None

    def close(self) -> None:
        """Nothing will be expected any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, at: Seconds) -> None:
        self.close()
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._set(self._deadline)
        else:
            self._part.end(self._cause)
