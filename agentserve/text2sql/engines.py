"""Two engines on the same model, one of which is slower."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import httpx

from agentserve.config import Emulated, Launch
from agentserve.engines import installed
from agentserve.engines.base import EngineError, Progress
from agentserve.engines.in_process import InProcessEngine
from agentserve.engines.launched import LaunchedEngine
from agentserve.engines.process import LoggedProcess
from agentserve.text2sql import duty
from scheduler.types import EngineId, Tokens

MODEL_NAME = "smollm2"
FAST, SLOW = "fast", "slow"
DEV_MODE = "VLLM_SERVER_DEV_MODE"
"""vLLM's switch for the route that empties its prefix cache."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What both engines are like. `share` is the slow one's speed as a share of the fast one's."""

    model: Path
    share: float = 0.4
    kv_tokens: Tokens = 16_384
    block_size: Tokens = 32
    max_model_len: Tokens = 2048
    emulated: bool = False
    speed: float = 1.0
    """Seconds of an emulated engine that pass in a second of the clock."""

    @asynccontextmanager
    async def up(self, logs: Path, progress: Progress) -> AsyncIterator[Engines]:
        """Both engines, until the context ends.

        Raises:
            EngineError: one did not come up.
        """
        engines = EmulatedEngines(self) if self.emulated else RealEngines(self, logs)
        try:
            await engines.start(progress)
            yield engines
        finally:
            await engines.stop()


class RealEngines:
    """Two vLLM, each on a core of its own; the slow one is stopped for part of the time."""

    def __init__(self, fleet: Fleet, logs: Path) -> None:
        self._share = fleet.share
        self._logs = logs
        self._engines = [
            LaunchedEngine(EngineId(name), _launch(fleet, core), MODEL_NAME, logs / f"{name}.log")
            for core, name in zip(cycle(_cores()), (FAST, SLOW))
        ]
        self._brake: LoggedProcess | None = None

    async def start(self, progress: Progress) -> None:
        """Starts both at full speed, and then slows one of them down.

        Raises:
            EngineError: one did not come up.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for engine in self._engines:
                    group.create_task(engine.start(progress))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        command = [sys.executable, "-I", duty.__file__, str(self._engines[1].pid), str(self._share)]
        self._brake = await LoggedProcess.spawn(command, os.environ, self._logs / "brake.log")

    @property
    def sections(self) -> list[dict[str, object]]:
        """The engines for a gateway's configuration."""
        return [{"name": str(engine.name), "url": engine.url, "priority": True} for engine in self._engines]

    async def forget(self) -> None:
        """Empties their prefix caches.

        Raises:
            EngineError: the slow one is not slow any more, or one does not answer or is not idle.
        """
        if self._brake is None or self._brake.exit_code is not None:
            raise EngineError(f"what slows the engine {SLOW} down has ended; see {self._logs / 'brake.log'}")
        async with httpx.AsyncClient(trust_env=False, timeout=30.0) as http:
            for engine in self._engines:
                try:
                    (await http.post(f"{engine.url}/reset_prefix_cache")).raise_for_status()
                except httpx.HTTPError as error:
                    raise EngineError(f"engine {engine.name} does not empty its cache: {error!r}") from error

    async def stop(self) -> None:
        """Ends all three processes."""
        try:
            if self._brake is not None:
                await self._brake.stop()
                self._brake = None
        finally:
            await asyncio.gather(*(engine.stop() for engine in self._engines))


class EmulatedEngines:
    """The same with modelled times and filler for text."""

    def __init__(self, fleet: Fleet) -> None:
        self._engines = [
            InProcessEngine(EngineId(name), _emulation(fleet, speed), MODEL_NAME)
            for name, speed in ((FAST, fleet.speed), (SLOW, fleet.speed * fleet.share))
        ]

    async def start(self, progress: Progress) -> None:
        """Serves both, empty."""
        for engine in self._engines:
            await engine.start(progress)

    @property
    def sections(self) -> list[dict[str, object]]:
        """The engines for a gateway's configuration."""
        return [{"name": str(engine.name), "url": engine.url, "priority": True} for engine in self._engines]

    async def forget(self) -> None:
        """Serves them anew, under other addresses."""
        await self.start(lambda _: None)

    async def stop(self) -> None:
        """Ends them."""
        for engine in self._engines:
            await engine.stop()


Engines = RealEngines | EmulatedEngines


def names(engines: Engines) -> Sequence[str]:
    """Of both, the fast one first."""
    return [str(section["name"]) for section in engines.sections]


def _cores() -> Sequence[int]:
    """The processor's cores that we may run on."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else range(os.cpu_count() or 1)


def _launch(fleet: Fleet, core: int) -> Launch:
    args = {
        "--block-size": fleet.block_size,
        "--num-gpu-blocks-override": fleet.kv_tokens // fleet.block_size,
        "--max-model-len": fleet.max_model_len,
    }
    env = {DEV_MODE: "1"}
    if installed.is_cpu_build():
        env["VLLM_CPU_OMP_THREADS_BIND"] = str(core)
    words = [str(word) for pair in args.items() for word in pair]
    return Launch.model_validate({"model": str(fleet.model), "args": words, "env": env})


def _emulation(fleet: Fleet, speed: float) -> Emulated:
    return Emulated(
        kv_tokens=fleet.kv_tokens, block_size=fleet.block_size, max_model_len=fleet.max_model_len, speed=speed
    )
