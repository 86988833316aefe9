"""The two sides of a comparison: a stock engine by itself, and a gateway in front of an engine of equal size."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from agentserve.config import Emulated, Launch
from agentserve.engines import installed
from agentserve.engines.base import EngineError, Progress
from agentserve.engines.in_process import InProcessEngine
from agentserve.engines.launched import LaunchedEngine
from agentserve.engines.process import LoggedProcess
from scheduler.types import EngineId, Seconds, Tokens

MODEL_NAME = "smollm2"
HOST = "127.0.0.1"
READY_LIMIT: Seconds = 300.0
STOP_LIMIT: Seconds = 45.0
"""The gateway stops its engine first."""


@dataclass(frozen=True, slots=True)
class EngineSize:
    """The engine that both sides get, on a model in the folder `model`. Small, so that 16 programs do not fit in."""

    model: Path
    kv_tokens: Tokens = 8192
    block_size: Tokens = 128
    """What vLLM's CPU build takes by itself."""
    max_model_len: Tokens = 4096
    emulated: bool = False

    def launch(self, *, plugin: bool) -> dict[str, object]:
        """The `launch` section of such an engine: with our plugin, or as vLLM comes."""
        args = [
            *("--block-size", self.block_size, "--num-gpu-blocks-override", self.kv_tokens // self.block_size),
            *("--max-model-len", self.max_model_len),
        ]
        if not plugin:
            args.append("--enable-prompt-tokens-details")  # reports cached tokens, changes nothing
        # by itself vLLM leaves a core to its scheduler process, which on two cores halves the engine
        env = {"VLLM_CPU_OMP_THREADS_BIND": f"0-{(os.cpu_count() or 1) - 1}"} if installed.is_cpu_build() else {}
        return {"model": str(self.model), "args": [str(arg) for arg in args], "plugin": plugin, "env": env}

    def emulation(self) -> dict[str, object]:
        """The `emulated` section of such an engine."""
        return {"kv_tokens": self.kv_tokens, "block_size": self.block_size, "max_model_len": self.max_model_len}

    def section(self, *, plugin: bool) -> dict[str, object]:
        """The engine's section in a gateway's configuration."""
        if self.emulated:
            return {"name": "emulated", "emulated": self.emulation()}
        return {"name": "vllm", "launch": self.launch(plugin=plugin)}


class Side(Protocol):
    """One side, as the load client sees it."""

    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str:
        """Where clients go."""
        ...

    async def pins(self) -> Mapping[str, int]:
        """How many pins were made, hit, expired, broken and lost since it came up; empty if it makes none."""
        ...


class Arm(Side, Protocol):
    """A side that we bring up."""

    async def start(self, progress: Progress) -> None:
        """Brings it up.

        Raises:
            EngineError: it did not come up.
        """
        ...

    async def stop(self) -> None:
        """Ends it."""
        ...


class StockArm:
    """Stock vLLM with its defaults; clients talk to it directly."""

    def __init__(self, size: EngineSize, logs: Path, name: str = "vLLM") -> None:
        self.name = name
        if size.emulated:
            section = Emulated.model_validate(size.emulation())
            self._engine: LaunchedEngine | InProcessEngine = InProcessEngine(EngineId("stock"), section, MODEL_NAME)
        else:
            launch = Launch.model_validate(size.launch(plugin=False))
            self._engine = LaunchedEngine(EngineId("stock"), launch, MODEL_NAME, logs / f"{name}.log")

    @property
    def url(self) -> str:
        return self._engine.url

    async def start(self, progress: Progress) -> None:
        await self._engine.start(progress)

    async def pins(self) -> Mapping[str, int]:
        return {}

    async def stop(self) -> None:
        await self._engine.stop()


@dataclass(slots=True)
class GatewayArm:
    """`agentserve serve` in a process of its own, with an engine that it launches."""

    size: EngineSize
    logs: Path
    name: str = "agentserve"
    policy: str = "agentserve"
    plugin: bool = True
    _process: LoggedProcess | None = field(default=None, init=False)
    _port: int = field(default=0, init=False)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    async def start(self, progress: Progress) -> None:
        with socket.socket() as free:
            free.bind((HOST, 0))
            self._port = free.getsockname()[1]
        config = self.logs / f"{self.name}.yaml"
        config.write_text(yaml.safe_dump(self._config(), sort_keys=False))
        command = [sys.executable, "-P", "-m", "agentserve", "serve", "--config", str(config)]
        self._process = await LoggedProcess.spawn(command, os.environ, self.logs / f"{self.name}.log")
        await self._until_ready(self._process, progress)

    def _config(self) -> dict[str, object]:
        return {
            "listen": f"{HOST}:{self._port}",
            "policy": self.policy,
            "pools": [{"model": MODEL_NAME, "engines": [self.size.section(plugin=self.plugin)]}],
        }

    async def _until_ready(self, process: LoggedProcess, progress: Progress) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            while not await _answers(http):
                if process.exit_code is not None or loop.time() - began > READY_LIMIT:
                    lines = "\n  ".join(process.lines()[-12:])
                    raise EngineError(f"the gateway did not come up; its log ends with\n  {lines}")
                progress(f"{loop.time() - began:.0f} s")
                await process.wait(0.5)

    async def pins(self) -> Mapping[str, int]:
        return await pin_counts(self.url)

    async def stop(self) -> None:
        if self._process is not None:
            await self._process.stop(STOP_LIMIT)
            self._process = None


async def pin_counts(gateway: str) -> Mapping[str, int]:
    """How many pins a gateway has made, and how they ended, by its metrics."""
    async with httpx.AsyncClient(base_url=gateway, trust_env=False) as http:
        page = (await http.get("/metrics")).text
    counts: dict[str, int] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "agentserve_pins_total":
                outcome = sample.labels["outcome"]
                counts[outcome] = counts.get(outcome, 0) + int(sample.value)
    return counts


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/ready")).is_success
    except httpx.TransportError:
        return False
