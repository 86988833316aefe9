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
    """An asynchronous context that `end` leaves at once, from any task or callback of the loop. Used once.

    As `asyncio.timeout` does it, without a timer.
    """

    __slots__ = ("_before", "_cause", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        """That is within the part."""
        self._before = 0
        """How often it was cancelled before it began the part."""
        self._cause: Cause | None = None

    def end(self, cause: Cause) -> None:
        """Ends the part if it is running; only the first cause counts."""
        if self._task is not None and self._cause is None:
            self._cause = cause
            self._task.cancel()

    async def __aenter__(self) -> None:
        """Begins the part."""
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("only a task can be interrupted")
        self._before = self._task.cancelling()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends it. Raises `CallInterruptedError` in place of the cancellation that `end` caused."""
        task, self._task = self._task, None
        if self._cause is None or task is None:
            return
        if task.uncancel() <= self._before and (kind is None or issubclass(kind, asyncio.CancelledError)):
            raise CallInterruptedError(self._cause) from None
