"""Limits on waits for an engine, of which our own lateness uses up nothing.

Where a machine is busy the event loop turns slowly: an answer lies in its socket before anybody looks, and a limit in
seconds of the clock blames the engine for that. So a limit is counted in beats, of which a turn of the loop, however
late, is one at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from scheduler.types import Seconds

BEATS = 25
"""To a limit: so many turns, at least, has the loop in which to see an answer. Opening a connection takes it five."""


@asynccontextmanager
async def patience(limit: Seconds) -> AsyncIterator[None]:
    """Raises `TimeoutError` if the block is not left within so many seconds in which the event loop was on time."""
    loop = asyncio.get_running_loop()
    left = BEATS
    timer: asyncio.TimerHandle | None = None

    def beat() -> None:
        nonlocal left, timer
        left -= 1
        if left:
            timer = loop.call_later(limit / BEATS, beat)
        else:
            scope.reschedule(loop.time())

    async with asyncio.timeout(None) as scope:
        timer = loop.call_later(limit / BEATS, beat)
        try:
            yield
        finally:
            timer.cancel()
