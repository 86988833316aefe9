"""Emulated engines as a process of their own."""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection

from agentserve.engines.emulated import EmulatedServer
from simulator.engine import EngineConfig
from simulator.profile import CPU_SMOLLM2

CONFIG = EngineConfig(num_blocks=2048, block_size=32, max_model_len=8192, max_num_seqs=128, max_num_batched_tokens=4096)


def serve(count: int, speed: float, told: Connection) -> None:
    """Serves so many until the process is killed. `told` gets the list of their URLs."""
    asyncio.run(_serve(count, speed, told))


async def _serve(count: int, speed: float, told: Connection) -> None:
    servers = [EmulatedServer("m", CONFIG, CPU_SMOLLM2, speed) for _ in range(count)]
    told.send([await server.start() for server in servers])
    await asyncio.Event().wait()
