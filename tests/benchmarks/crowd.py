"""A gateway with many programs, whose calls need no HTTP: the driver is told of them as the inference routes would."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agentserve.engines.base import PinReport
from agentserve.gateway.driver import Driver
from scheduler.actions import Reject
from scheduler.events import CallArrived, PinOutcome, ProgramEnded
from scheduler.types import CallId, EngineSpec, PrefixMark, ProgramKey, TenantId, Usage
from tests.gateway.fakes import FakeEngine
from tests.gateway.world import World, world

CONTEXT = 2000
WORKFLOWS = ("swe", "text2sql", "research", "")
TENANTS = ("default", "research", "batch")


@dataclass(frozen=True, slots=True)
class Pace:
    """Means in seconds; what a program does is drawn anew each time."""

    prefill: float = 0.6
    decode: float = 4.0
    gap: float = 6.0
    turns: int = 12


PACE = Pace()


class Crowd:
    """Programs that come and go, so many at a time."""

    def __init__(self, driver: Driver, engines: list[FakeEngine], programs: int, pace: Pace, seed: int = 1) -> None:
        self._driver = driver
        self._engines = {engine.name: engine for engine in engines}
        self._pace = pace
        self._random = random.Random(seed)
        self._names = 0
        self._calls = 0
        self.tasks = [asyncio.create_task(self._forever()) for _ in range(programs)]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _forever(self) -> None:
        await self._pause(self._pace.gap)
        while True:
            await self._program()

    async def _program(self) -> None:
        self._names += 1
        key = ProgramKey(TenantId(self._random.choice(TENANTS)), f"run-{self._names:05}")
        workflow = self._random.choice(WORKFLOWS)
        turns = 1 + int(self._random.expovariate(1 / self._pace.turns))
        for turn in range(1, turns + 1):
            await self._call(key, workflow, turn)
            await self._pause(self._pace.gap)
        self._driver.handle(ProgramEnded(self._driver.now(), key))

    async def _call(self, key: ProgramKey, workflow: str, turn: int) -> None:
        driver = self._driver
        self._calls += 1
        tokens = CONTEXT + 150 * turn
        marks = tuple(PrefixMark(hash((key, number)), 600 * number) for number in range(1, turn + 1))
        call = CallId(f"call-{self._calls:06}")
        ticket = driver.arrive(
            CallArrived(
                driver.now(),
                call,
                key,
                "m",
                max(4 * tokens, 600 * turn),
                marks,
                tokens,
                workflow=workflow,
                stage=f"step {turn}",
            )
        )
        decision = await ticket.decision()
        assert not isinstance(decision, Reject), decision
        driver.sent(ticket)
        await self._pause(self._pace.prefill)
        driver.first_token(ticket)
        await self._pause(self._pace.decode)
        kept = turn > 1 and self._random.random() < 0.8
        driver.finished(
            ticket, Usage(tokens, 120, tokens - 150 if kept else 0), (self._random.choice(("bash", "search")),)
        )
        if turn > 1:
            outcome = PinOutcome.HIT if kept else self._random.choice((PinOutcome.BROKEN, PinOutcome.EXPIRED))
            self._engines[decision.engine].reports.append(PinReport(str(key), outcome, tokens))

    async def _pause(self, mean: float) -> None:
        await asyncio.sleep(self._random.expovariate(1 / mean))


@asynccontextmanager
async def crowd(
    programs: int, engines: int = 4, pace: Pace = PACE, share: float = 0.7, policy: object = "agentserve"
) -> AsyncIterator[World]:
    """The gateway with the programs on it. The engines' memory holds `share` of what all programs would like to have."""
    room = int(programs * (CONTEXT + 75 * pace.turns) * share / engines) // 32 * 32
    spec = EngineSpec(("m",), max(room, 8192), 32, 32_768, retention=True, priority=True)
    fleet = [FakeEngine(f"gpu-{number}", spec) for number in range(engines)]
    async with world(*fleet, policy=policy) as w:
        people = Crowd(w.driver, fleet, programs, pace)
        try:
            yield w
        finally:
            await people.stop()
