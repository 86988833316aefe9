"""Gateways are cut off from the store, or stand still, so that the one with the brain does not know that it lost it."""

from __future__ import annotations

import asyncio
import random

from tests.benchmarks.chaos.kills import decided, under_way
from tests.benchmarks.chaos.load import Load
from tests.benchmarks.chaos.tally import Tally
from tests.cell.cables import Cut
from tests.cell.cluster import Cluster, GatewayProcess

LONG = (2.5, 5.0)
"""Seconds: longer than a lease."""
KINDS = ("refused", "silent", "followers", "frozen")


async def cut(found: Cluster, load: Load, tally: Tally, rng: random.Random, kind: str) -> None:
    """One of: the leader's way is refused, or silent; the followers' ways are; the leader's process stands still."""
    leader = await asyncio.to_thread(found.settle)
    await under_way(load, leader)
    tally.under_way.append(len(load.streaming(leader)))
    others = [gateway for gateway in found.gateways if gateway is not leader]
    if kind == "frozen":
        leader.freeze()
    elif kind == "followers":
        _set(others, rng.choice((Cut.REFUSED, Cut.SILENT)))
    else:
        _set([leader], Cut(kind))
    long = rng.uniform(*LONG)
    began = asyncio.get_running_loop().time()
    ask = leader if kind == "followers" else rng.choice(others)
    took = await decided(load, ask) - began
    tally.recovery_s.append(round(took, 3))
    await asyncio.sleep(max(0.0, long - took))
    if kind == "frozen":
        leader.thaw()
    else:
        _set(found.gateways, Cut.NO)
    tally.did(
        f"{len(tally.recovery_s)}: {leader.name} had the brain; {kind} for {max(long, took):.1f} s, with"
        f" {tally.under_way[-1]} streams through it; {ask.name} had a decision after {took:.2f} s"
    )
    await asyncio.to_thread(found.settle)


def _set(gateways: list[GatewayProcess], kind: Cut) -> None:
    for gateway in gateways:
        assert gateway.cable is not None, "this cluster has no cables"
        gateway.cable.change(kind)
