"""The gateway with the brain is killed, again and again."""

from __future__ import annotations

import asyncio
import random
import time

import httpx

from tests.benchmarks.chaos.load import Load
from tests.benchmarks.chaos.tally import Tally
from tests.cell.cluster import Cluster, GatewayProcess

UNDER_WAY_S = 60.0
"""For calls to be under way where it is to hurt."""


async def kill(found: Cluster, load: Load, tally: Tally, rng: random.Random) -> None:
    """The brain's gateway dies with calls under way, another takes over, and the dead one is started again."""
    victim = await asyncio.to_thread(found.settle)
    await asyncio.sleep(rng.uniform(0.5, 2.5))
    await under_way(load, victim)
    mine, all_ = len(load.streaming(victim)), len(load.streaming())
    victim.kill()
    tally.under_way.append(mine)
    tally.elsewhere.append(all_ - mine)
    survivor = rng.choice([gateway for gateway in found.gateways if gateway.alive])
    took = await decided(load, survivor) - victim.deaths[-1]
    tally.recovery_s.append(round(took, 3))
    tally.did(
        f"{len(tally.recovery_s)}: {victim.name} killed with {mine} streams under way, {all_ - mine} elsewhere;"
        f" {survivor.name} had a decision after {took:.2f} s"
    )
    victim.start()


async def under_way(load: Load, gateway: GatewayProcess | None = None) -> None:
    """Waits until there is a stream through that gateway, or through any."""
    deadline = time.monotonic() + UNDER_WAY_S
    while not load.streaming(gateway):
        assert time.monotonic() < deadline, "no call comes under way: the load is too small"
        await asyncio.sleep(0.01)


async def decided(load: Load, gateway: GatewayProcess) -> float:
    """When a call that began now, or one that followed it, was decided by a brain."""
    while True:
        try:
            probe = await load.probe(gateway, f"probe-{len(load.attempts)}")
        except httpx.ConnectError:
            probe = None
        if probe is not None and probe.answered and probe.why != "forwarded":
            assert probe.ended is not None
            return probe.ended
        await asyncio.sleep(0.02)
