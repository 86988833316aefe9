"""Emulated engines as a process of their own: `python -m tests.cell.engines COUNT SPEED` prints a URL for each."""

from __future__ import annotations

import asyncio
import sys

from agentserve.engines.emulated import EmulatedServer
from simulator.engine import EngineConfig
from simulator.profile import CPU_SMOLLM2


async def main(count: int, speed: float) -> None:
    config = EngineConfig(
        num_blocks=2048, block_size=32, max_model_len=8192, max_num_seqs=128, max_num_batched_tokens=4096
    )
    servers = [EmulatedServer("m", config, CPU_SMOLLM2, speed) for _ in range(count)]
    for server in servers:
        print(await server.start(), flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
