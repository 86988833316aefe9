"""The store is away for a while: stopped, killed, or killed and wiped."""

from __future__ import annotations

import asyncio
import random
import time

from tests.benchmarks.chaos.kills import UNDER_WAY_S, decided, under_way
from tests.benchmarks.chaos.load import Attempt, Load
from tests.benchmarks.chaos.tally import Tally
from tests.cell.cluster import Cluster

KINDS = ("stopped", "killed", "wiped")


async def outage(found: Cluster, load: Load, tally: Tally, rng: random.Random, seconds: float, kind: str) -> None:
    """The store is away for so long. All calls that begin while no gateway has a brain go on, and say so."""
    await asyncio.to_thread(found.settle)
    await under_way(load)
    before = {attempt.program for attempt in load.attempts if attempt.answered and attempt.why != "forwarded"}
    tally.under_way.append(len(load.streaming()))
    gone = time.monotonic()
    await asyncio.to_thread(found.redis.freeze if kind == "stopped" else found.redis.kill)
    for gateway in found.gateways:
        await asyncio.to_thread(gateway.until, "none")
    alone = time.monotonic()
    await asyncio.sleep(max(0.0, gone + seconds - alone))
    while not served(load, alone) and time.monotonic() < alone + UNDER_WAY_S:  # noqa: ASYNC110 - clients tell nobody
        await asyncio.sleep(0.05)
    back = time.monotonic()
    check_brainless(load, tally, alone)
    if kind == "wiped":
        found.redis.wipe()
    await asyncio.to_thread(found.redis.thaw if kind == "stopped" else found.redis.start)
    took = await decided(load, rng.choice(found.gateways)) - back
    tally.recovery_s.append(round(took, 3))
    tally.did(
        f"{len(tally.recovery_s)}: the store {kind} for {back - gone:.1f} s with {tally.under_way[-1]} streams under way;"
        f" no gateway had a brain after {alone - gone:.2f} s, and one decided {took:.2f} s after its return"
    )
    await asyncio.to_thread(found.settle)
    await check_known(found, load, tally, before)


def served(load: Load, alone: float) -> list[Attempt]:
    """Calls that began when no gateway had a brain any more, and whose answers have begun."""
    return [attempt for attempt in load.attempts if attempt.began > alone and attempt.first is not None]


def check_brainless(load: Load, tally: Tally, alone: float) -> None:
    """Calls went on, each said to be forwarded. The store is still away."""
    calls = served(load, alone)
    if not calls:
        tally.wrong.append("no call was served while the store was away")
    for attempt in calls:
        if attempt.why != "forwarded":
            tally.wrong.append(f"{attempt.program}: there was no brain, and its answer says {attempt.why!r}")
    tally.figures["brainless_calls"] = tally.figures.get("brainless_calls", 0) + len(calls)


async def check_known(found: Cluster, load: Load, tally: Tally, before: set[str]) -> None:
    """The brain in the store knows the programs that one knew `before` the outage, and counts no call twice."""
    deadline = time.monotonic() + 10.0
    while True:
        lasting = before & load.answered.keys()
        brain = await found.stored()
        known = {} if brain is None else {key.program: program.served for key, program in brain.programs.items()}
        missing = sorted(lasting - known.keys())
        if not missing or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    if missing:
        tally.wrong.append(f"the brain has forgotten {missing[:5]}, {len(missing)} in all")
    for name, served in known.items():
        begun = sum(1 for attempt in load.attempts if attempt.program == name)
        if served > begun:
            tally.wrong.append(f"{name}: {served} calls are counted, and {begun} were made")
