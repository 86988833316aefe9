"""Engines that come back after a failure have the weights they always begin with: they get the latest before any call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from agentserve.engines.base import Engine, Pulse
from agentserve.engines.supervise import Watcher
from agentserve.gateway.rollouts.ground import Ground
from scheduler.types import EngineId, EngineSpec, Seconds


class WeightsWatch:
    """Watches engines (`supervise.Watcher`) on behalf of `watcher`, which hears of them when their weights are there."""

    def __init__(self, watcher: Watcher, grounds: Mapping[EngineId, Ground]) -> None:
        self._watcher = watcher
        self._grounds = grounds
        self._joining: dict[EngineId, asyncio.Task[None]] = {}

    def engine_up(self, engine: Engine, spec: EngineSpec) -> None:
        """An engine is healthy."""
        ground = self._grounds[engine.name]
        if ground.versions.latest == 0:
            ground.joins(engine.name)
            self._watcher.engine_up(engine, spec)
        else:
            self._joining[engine.name] = asyncio.create_task(self._join(ground, engine, spec))

    def engine_down(self, engine: Engine, reason: str) -> None:
        """An engine is gone, and its weights with it."""
        task = self._joining.pop(engine.name, None)
        if task is not None and not task.done():
            task.cancel()
            return
        self._watcher.engine_down(engine, reason)

    def engine_observed(self, engine: Engine, as_of: Seconds, pulse: Pulse) -> None:
        """A scrape, which says nothing of weights."""
        self._watcher.engine_observed(engine, as_of, pulse)

    def close(self) -> None:
        """Gives no engine its weights any more."""
        for task in self._joining.values():
            task.cancel()

    async def _join(self, ground: Ground, engine: Engine, spec: EngineSpec) -> None:
        await ground.join(engine)
        ground.joins(engine.name)
        self._watcher.engine_up(engine, spec)
