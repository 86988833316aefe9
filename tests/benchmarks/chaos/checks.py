"""What has to hold at the end of every run, asked of engines' diaries, of the store and of the brain in it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from itertools import pairwise

import httpx

from agentserve.state.redis import RedisStore
from scheduler.brain import Brain
from scheduler.types import DEFAULT_TENANT, Tokens
from tests.benchmarks.chaos.load import OUTPUT, Load
from tests.benchmarks.chaos.tally import Tally
from tests.cell.cluster import CELL, Cluster

CLOSING_S = 60.0
"""For what is under way at the end, and for the last group of the log."""
LATE_S = 1.0
"""An order that was on its way when its brain's term ended may arrive so much later."""
MOST: Tokens = 2000 + OUTPUT
"""What an attempt without an answer may have cost: no prompt of the load is longer."""
EVERY_S = 315_360_000.0
TENANTS = [{"name": str(DEFAULT_TENANT), "budget": {"tokens": 10**12, "every": EVERY_S}}]
"""Has gateways count what is spent, without an end to it."""


async def check(found: Cluster, load: Load, tally: Tally) -> None:
    """All of it. The load has ended."""
    await check_books(found, tally)
    check_generations(found, load, tally)
    check_orders(found, tally)
    await check_spent(found, load, tally)


async def check_books(found: Cluster, tally: Tally) -> None:
    """Nothing is held any more, by the brain in the store and by the engines."""
    deadline = time.monotonic() + CLOSING_S
    while left := held(await found.brain()):
        if time.monotonic() > deadline:
            tally.wrong.append(f"the brain still holds {left[:5]}, {len(left)} in all")
            break
        await asyncio.sleep(0.5)
    async with httpx.AsyncClient() as client:
        for engine in found.engines:
            status = (await client.get(f"{engine.url}/agentserve/v1/pins")).json()
            if status["free_blocks"] != status["total_blocks"]:
                tally.wrong.append(f"{engine.name} has {status['free_blocks']} of {status['total_blocks']} blocks free")


def held(brain: Brain) -> list[str]:
    """What a brain still holds."""
    brain.check_integrity()
    engines = [f"{name}: {engine.account.occupied} tokens" for name, engine in brain.engines.items()]
    return [
        *(f"call {call}" for call in brain.calls),
        *(f"program {program}" for program in brain.programs),
        *(text for text in engines if not text.endswith(": 0 tokens")),
    ]


def check_generations(found: Cluster, load: Load, tally: Tally) -> None:
    """No request was generated for twice, unless the engine that had it was killed; each answer was generated once."""
    begun: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
    ended: Counter[int] = Counter()
    deaths = {engine.name: engine.deaths for engine in found.engines}
    for engine in found.engines:
        for entry in engine.entries():
            if entry.what == "begun":
                begun[entry.number].append((entry.at, engine.name))
            elif entry.what == "ended":
                ended[entry.number] += 1
    for attempt in load.attempts:
        starts = sorted(begun[attempt.number])
        for (at, one), (again, other) in pairwise(starts):
            if not any(at <= death <= again for death in deaths[one]):
                tally.wrong.append(f"{attempt.program}: one request was sent to {one} and to {other}")
        if ended[attempt.number] > 1 or (attempt.answered and ended[attempt.number] != 1):
            tally.wrong.append(f"{attempt.program}: engines answered one request {ended[attempt.number]} times")
    tally.attempts = sum(1 for attempt in load.attempts if attempt.number in begun)
    tally.figures["generations_begun"] = sum(map(len, begun.values()))
    tally.figures["generations_ended"] = sum(ended.values())


def check_orders(found: Cluster, tally: Tally) -> None:
    """No engine obeyed an older brain after a later one, and none anywhere did so for long."""
    orders = []
    for engine in found.engines:
        latest = 0
        for entry in engine.entries():
            if entry.what != "orders":
                continue
            orders.append(entry)
            if any(death < entry.at for death in engine.deaths):  # it has forgotten what it was told before
                continue
            if entry.accepted and entry.number < latest:
                tally.wrong.append(f"{engine.name} obeyed epoch {entry.number} after epoch {latest}")
            latest = max(latest, entry.number)
    began: dict[int, float] = {}
    for entry in sorted(orders, key=lambda entry: entry.at):
        began.setdefault(entry.number, entry.at)
        later = [at for epoch, at in began.items() if epoch > entry.number]
        if entry.accepted and later and entry.at - min(later) > LATE_S:
            tally.wrong.append(f"epoch {entry.number} was obeyed {entry.at - min(later):.1f} s after a later one")
    tally.figures["orders"] = len(orders)
    tally.figures["orders_refused"] = sum(not entry.accepted for entry in orders)
    tally.figures["epochs_that_ordered"] = len(began)


async def check_spent(found: Cluster, load: Load, tally: Tally) -> None:
    """The budget has every answer once. What a gateway that was killed had spent in its last second may be missing,
    and what it had sent to an engine without an answer may be counted by nobody."""
    due = sum(attempt.tokens for attempt in load.attempts if attempt.answered)
    broken = [attempt for attempt in load.attempts if not attempt.answered and attempt.why != "not taken"]
    most = due + len(broken) * MOST
    killed = any(gateway.deaths for gateway in found.gateways)
    deadline = time.monotonic() + (0 if killed else CLOSING_S)
    spent = await _spent(found)
    while spent < due and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        spent = await _spent(found)
    tally.figures |= {"tokens_answered": due, "tokens_charged": spent}
    if spent > most or (spent < due and not killed):
        tally.wrong.append(f"{spent} tokens are charged; answers had {due}, and what broke off at most {most - due}")


async def _spent(found: Cluster) -> Tokens:
    store = RedisStore(found.redis.url, CELL)
    await store.open()
    try:
        return await store.spend("chaos", DEFAULT_TENANT, int(time.time() // EVERY_S), 0)
    finally:
        await store.close()
