"""Keeping one engine up: start it, watch it, and when it is gone start it again, ever more patiently."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

from agentserve.engines.base import Engine, EngineError, Progress, Pulse
from scheduler.types import EngineSpec, Seconds

LONGEST_WAIT = 30.0
"""Seconds between two attempts to start, at most; the first waits are 1, 2, 4, ..."""

PROVEN = 60.0
"""Seconds after which an engine that went down is started again at once, as if it had never failed before."""

MISSES = 3
"""So many health checks in a row have to fail before an engine is taken for gone."""
OBSERVE_EVERY = 5
"""Health checks a scrape. vLLM needs several milliseconds for its metrics page, and we for reading it."""


class State(StrEnum):
    """Where an engine is in its life."""

    STARTING = "starting"
    UP = "up"
    WAITING = "waiting"
    """It failed, and is started again in a while."""
    STOPPED = "stopped"


class Supervised(Engine, Protocol):
    """An engine that can also tell that it will not come back by itself."""

    def gone(self) -> str | None:
        """Why it has ended (its process has exited), or None."""
        ...


class Watcher(Protocol):
    """Who wants to know of an engine's ups and downs. Times are the event loop's."""

    def engine_up(self, engine: Engine, spec: EngineSpec) -> None:
        """It is healthy and probed, and its KV is empty."""
        ...

    def engine_down(self, engine: Engine, reason: str) -> None:
        """It is gone with all its KV. Follows an `engine_up`, and is followed by another when it comes back."""
        ...

    def engine_observed(self, engine: Engine, as_of: Seconds, pulse: Pulse) -> None:
        """A scrape that began at `as_of`."""
        ...


class Supervisor:
    """The task that looks after one engine. Cancel `run` to end it; the engine is stopped with it."""

    def __init__(self, engine: Supervised, watcher: Watcher, progress: Progress, interval: Seconds = 1.0) -> None:
        self.engine = engine
        self.state = State.STOPPED
        self.problem = ""
        """Why it is not up, in words for people; empty while it is."""
        self._watcher = watcher
        self._progress = progress
        self._interval = interval

    async def run(self) -> None:
        """Keeps the engine up until cancelled."""
        loop = asyncio.get_running_loop()
        waits = _waits(self._interval)
        try:
            while True:
                spec = await self._bring_up(waits)
                since = loop.time()
                self._watcher.engine_up(self.engine, spec)
                self.problem = await self._watch()
                self._progress(f"engine {self.engine.name} is down: {self.problem}")
                self._watcher.engine_down(self.engine, self.problem)
                if loop.time() - since > PROVEN * self._interval:
                    waits = _waits(self._interval)
                else:
                    await self._rest(next(waits))
        finally:
            self.state = State.STOPPED
            await self.engine.stop()

    async def _bring_up(self, waits: Iterator[Seconds]) -> EngineSpec:
        while True:
            self.state = State.STARTING
            try:
                spec = await self.engine.start(self._progress)
            except EngineError as error:
                self.problem = str(error)
                self._progress(self.problem)
                await self._rest(next(waits))
            else:
                self.state = State.UP
                self.problem = ""
                return spec

    async def _rest(self, wait: Seconds) -> None:
        self.state = State.WAITING
        self._progress(f"engine {self.engine.name}: trying again in {wait:g} s")
        await asyncio.sleep(wait)

    async def _watch(self) -> str:
        """Returns why the engine is taken for gone, as soon as it is."""
        misses = 0
        for beat in itertools.count(1):
            await asyncio.sleep(self._interval)
            if reason := self.engine.gone():
                return reason
            misses = 0 if await self.engine.healthy() else misses + 1
            if misses == MISSES:
                break
            if not misses and beat % OBSERVE_EVERY == 1:
                await self._observe()
        return f"it failed {MISSES} health checks in a row"

    async def _observe(self) -> None:
        as_of = asyncio.get_running_loop().time()
        try:
            pulse = await self.engine.observe()
        except EngineError:
            return  # it is alive but tells nothing, which the probe has said already
        self._watcher.engine_observed(self.engine, as_of, pulse)


def _waits(unit: Seconds) -> Iterator[Seconds]:
    wait = 1.0
    while True:
        yield min(wait, LONGEST_WAIT) * unit
        wait = min(wait * 2, LONGEST_WAIT)
