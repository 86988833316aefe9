"""The end of a gateway: what has begun is finished, what is new goes elsewhere."""

from __future__ import annotations

import asyncio
import logging
from types import FrameType

import uvicorn

from agentserve.gateway.errors import RETRY_AFTER, ApiError
from scheduler.types import Seconds

logger = logging.getLogger(__name__)


class Drain:
    """Counts requests under way, and refuses new ones once it has begun."""

    def __init__(self) -> None:
        self.begun = False
        self._requests = 0

    @property
    def empty(self) -> bool:
        """No request is under way."""
        return not self._requests

    def check(self) -> None:
        """Raises `ApiError` 503 once it has begun."""
        if self.begun:
            message = f"this gateway is stopping; try again in {RETRY_AFTER} s"
            raise ApiError(503, message, code="stopping")

    def __enter__(self) -> None:
        """A request is served. Raises `ApiError` as `check` does."""
        self.check()
        self._requests += 1

    def __exit__(self, *error: object) -> None:
        """It has been."""
        self._requests -= 1


class DrainingServer(uvicorn.Server):
    """A server that a first signal makes drain, for `limit` seconds at most; the second makes it stop at once."""

    def __init__(self, config: uvicorn.Config, drain: Drain, limit: Seconds) -> None:
        super().__init__(config)
        self._drain = drain
        self._limit = limit
        self._end: Seconds | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Takes a signal."""
        if self._drain.begun:
            super().handle_exit(sig, frame)
        else:
            self._drain.begun = True

    async def on_tick(self, counter: int) -> bool:
        """Looks, ten times a second, whether it may stop."""
        if self._drain.begun:
            self._drained()
        return await super().on_tick(counter)

    def _drained(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._end is None:
            self._end = now + self._limit
            logger.info("stopping: new calls are refused, those under way have %g s", self._limit)
        if self._drain.empty or now >= self._end:
            self.should_exit = True
