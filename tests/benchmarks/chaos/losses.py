"""An engine is killed in mid-stream."""

from __future__ import annotations

import asyncio
import random
import time

import httpx

from tests.benchmarks.chaos.kills import UNDER_WAY_S
from tests.benchmarks.chaos.load import Attempt, Load
from tests.benchmarks.chaos.tally import Tally
from tests.cell.cluster import Cluster, EngineProcess

UP_S = 120.0


async def lose(found: Cluster, load: Load, tally: Tally, rng: random.Random) -> None:
    """An engine dies with streams of it under way; when all gateways have seen that, it is started again."""
    await asyncio.to_thread(found.settle)
    victim = rng.choice(found.engines)
    await asyncio.sleep(rng.uniform(0.5, 2.5))
    deadline = time.monotonic() + UNDER_WAY_S
    while not (hit := on(load, victim)):
        assert time.monotonic() < deadline, f"no stream of {victim.name} comes under way: the load is too small"
        await asyncio.sleep(0.01)
    victim.kill()
    tally.under_way.append(len(hit))
    tally.elsewhere.append(len(load.streaming()) - len(hit))
    await asyncio.sleep(5.0)
    again = {attempt.program: attempt.engine for attempt in load.attempts if attempt.began > victim.deaths[-1]}
    moved = [attempt.program for attempt in hit if again.get(attempt.program)]
    if any(again[name] == victim.name for name in moved):
        tally.wrong.append(f"a program went on on {victim.name}, which was dead")
    tally.did(
        f"{len(tally.under_way)}: {victim.name} killed with {len(hit)} streams under way; {len(moved)} of their programs"
        " went on elsewhere within 5 s"
    )
    victim.start()
    await asyncio.to_thread(until_up, found, victim)


def on(load: Load, engine: EngineProcess) -> list[Attempt]:
    """Streams that come from that engine now."""
    return [attempt for attempt in load.streaming() if attempt.engine == engine.name]


def until_up(found: Cluster, engine: EngineProcess) -> None:
    """Waits until all gateways have the engine again."""
    deadline = time.monotonic() + UP_S
    for gateway in found.gateways:
        while True:
            rows = httpx.get(f"{gateway.url}/agentserve/v1/engines", timeout=10).json()["engines"]
            if any(row["name"] == engine.name and row["state"] == "up" for row in rows):
                break
            assert time.monotonic() < deadline, f"{gateway.name} does not see {engine.name} again: {rows}"
            time.sleep(0.1)


def check_losses(found: Cluster, load: Load, tally: Tally) -> None:
    """Calls without a first byte when their engine died were answered elsewhere; the others were told clearly."""
    rescued = told = 0
    for engine in found.engines:
        begun = {entry.number: entry.at for entry in engine.entries() if entry.what == "begun"}
        ended = {entry.number for entry in engine.entries() if entry.what == "ended"}
        for attempt in load.attempts:
            at = begun.get(attempt.number)
            death = next((death for death in engine.deaths if at is not None and at < death), None)
            if death is None or attempt.number in ended or attempt.ended is None or attempt.ended < death:
                continue
            if attempt.answered:
                rescued += 1
            elif attempt.first is None:
                tally.wrong.append(
                    f"{attempt.program}: it had no byte when {engine.name} died, and got {attempt.error}"
                )
            elif engine.name in attempt.error:
                told += 1
            else:
                tally.wrong.append(f"{attempt.program}: {engine.name} died under it, and it was told {attempt.error!r}")
    for attempt in load.attempts:
        if attempt.error and not any(death > attempt.began for engine in found.engines for death in engine.deaths):
            tally.wrong.append(f"{attempt.program}: {attempt.error}, and no engine had died")
    tally.figures |= {"answered_elsewhere": rescued, "told_in_mid_stream": told}
