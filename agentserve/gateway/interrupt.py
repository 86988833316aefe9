"""A part of a task that others may end, giving a cause."""

from __future__ import annotations

import asyncio
from enum import Enum
from types import TracebackType


class Cause(Enum):
    """Why a call, or an attempt at it, was ended from outside."""

    GONE = "the client left"
    STALLED = "the client stopped reading"
    ABORTED = "the scheduler stopped the call"
    LOST = "the engine went down"
    UNHEARD = "it said nothing for too long"
    SILENT = "it paused for too long within its answer"
    CUT = "the sample was cut"
    LATE = "the call took too long"


class CallInterruptedError(Exception):
    """Raised where an `Interruptible` part ends because of `cause`."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.value)
        self.cause = cause


class Interruptible:
    """An asynchronous context that `end` leaves at once, from any task or callback of the loop. Used once."""

    def __init__(self) -> None:
        self._scope = asyncio.timeout(None)
        self._running = False
        self._cause: Cause | None = None

    def end(self, cause: Cause) -> None:
        """Ends the part if it is running; only the first cause counts."""
        if self._running and self._cause is None:
            self._cause = cause
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> None:
        """Begins the part."""
        await self._scope.__aenter__()
        self._running = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends it. Raises `CallInterruptedError` in place of the cancellation that `end` caused."""
        self._running = False
        try:
            await self._scope.__aexit__(kind, error, traceback)
        except TimeoutError:
            if self._cause is None:
                raise
            raise CallInterruptedError(self._cause) from None
