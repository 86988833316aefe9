"""The task that steps an engine model by the wall clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from scheduler.types import Seconds
from simulator.engine import Engine
from simulator.request import Output, Request


class EngineClock:
    """Runs one engine model; its seconds are `speed` times as short as real ones.

    While a step is overdue the engine's time stands still at the step's end, so that a late event loop makes no step
    longer: the engine catches up.
    """

    def __init__(self, engine: Engine, speed: float) -> None:
        self.engine = engine
        self._speed = speed
        self._began = asyncio.get_running_loop().time()
        self._ends: Seconds | None = None
        self._added = asyncio.Event()
        self._stepped = asyncio.Event()
        """Set, and replaced, at the end of each step."""
        self._readers: dict[str, asyncio.Queue[Output]] = {}

    @property
    def now(self) -> Seconds:
        """The engine's time."""
        return self._wall if self._ends is None else min(self._wall, self._ends)

    async def run(self) -> None:
        """Steps the engine until cancelled."""
        while True:
            outputs, self._ends = self.engine.step(self.now)
            self._stepped.set()
            self._stepped = asyncio.Event()
            for output in outputs:
                self._readers[output.request].put_nowait(output)
            if self._ends is None:
                self._added.clear()
                await self._added.wait()
            else:
                await asyncio.sleep((self._ends - self._wall) / self._speed)

    async def between_steps(self) -> None:
        """Returns when the step under way, if there is one, has ended: the engine has looked at what came during it."""
        if self._ends is not None:
            await self._stepped.wait()

    @property
    def _wall(self) -> Seconds:
        return (asyncio.get_running_loop().time() - self._began) * self._speed

    async def outputs(self, request: Request) -> AsyncGenerator[Output, None]:
        """Adds a request and yields its tokens as they come; closing the iterator aborts it.

        Raises:
            simulator.engine.RequestError: the engine cannot take it.
        """
        self.engine.add(request, self.now)
        reader = self._readers[request.id] = asyncio.Queue()
        self._added.set()
        try:
            while True:
                output = await reader.get()
                yield output
                if output.finished:
                    break
        finally:
            self.engine.abort(request.id, self.now)
            del self._readers[request.id]
