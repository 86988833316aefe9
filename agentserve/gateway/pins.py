"""The pin orders of one engine: batched, one request in flight, and asked for news while pins may exist."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from agentserve.engines.base import Engine, EngineError, OutrankedError, PinOrder, PinReport
from scheduler.types import ProgramKey, Seconds

POLL = 2.0
"""Seconds between two questions for news of pins, where no order brings it. Each costs the engine a pause in a step."""
SLACK = 1.0
"""Seconds for which news of a pin may come after its time-to-live."""

logger = logging.getLogger(__name__)


class PinLine:
    """Carries pin orders to an engine's plugin and its reports back. `run` is its task.

    Orders that did not arrive are sent again, unless newer ones of the same program took their place.
    """

    def __init__(
        self, engine: Engine, report: Callable[[PinReport], None], epoch: Callable[[], int | None] = lambda: 0
    ) -> None:
        """`epoch` says since when we are the one whom the engine obeys; None if we are not."""
        self._engine = engine
        self._report = report
        self._epoch = epoch
        self._orders: dict[str, Seconds] = {}
        self._watched_until: Seconds = 0.0
        self._wake = asyncio.Event()

    def order(self, program: ProgramKey, ttl: Seconds) -> None:
        """Pins the program for `ttl` seconds from now, or releases it with 0."""
        self._orders[str(program)] = _now() + ttl
        self.watch(ttl)

    def watch(self, ttl: Seconds) -> None:
        """A pin of `ttl` seconds exists from now on."""
        self._watched_until = max(self._watched_until, _now() + ttl + SLACK)
        self._wake.set()

    async def run(self) -> None:
        """Carries orders and reports until cancelled."""
        while True:
            await self._until_needed()
            orders, self._orders = self._orders, {}
            now = _now()
            epoch = self._epoch()
            if epoch is None:
                self._watched_until = 0.0
                continue
            try:
                reports = await self._engine.pin(
                    [PinOrder(name, max(0.0, end - now)) for name, end in orders.items()], epoch
                )
            except OutrankedError as error:
                logger.error("%s", error)
                self._watched_until = 0.0
                continue
            except EngineError:
                self._orders = orders | self._orders
                await asyncio.sleep(POLL)
                continue
            for report in reports:
                self._report(report)

    async def _until_needed(self) -> None:
        self._wake.clear()
        if self._orders:
            return
        try:
            async with asyncio.timeout(POLL if _now() < self._watched_until else None):
                await self._wake.wait()
        except TimeoutError:
            return


def _now() -> Seconds:
    return asyncio.get_running_loop().time()
