"""A gateway in front of emulated engines, as a trainer sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from agentserve.config import Emulated, parse
from agentserve.engines.base import Progress
from agentserve.engines.calls import CallReply
from agentserve.engines.in_process import InProcessEngine
from agentserve.gateway.app import Gateway
from agentserve.gateway.assembly import gateway
from scheduler.brain import Brain
from scheduler.types import EngineId, EngineSpec
from tests.gateway.world import eventually, serve

ROUTE = "/agentserve/v1/rollouts"
PROMPT = list(range(1000, 1100))


class Mortal(InProcessEngine):
    """An emulated engine that remembers what it was asked, and can die, to be started again with its first weights."""

    def __init__(self, name: EngineId, section: Emulated, model: str) -> None:
        super().__init__(name, section, model)
        self.asked: list[str] = []
        """The paths since its latest start."""
        self._dead = False

    async def start(self, progress: Progress) -> EngineSpec:
        spec = await super().start(progress)
        self.asked, self._dead = [], False
        return spec

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> CallReply:
        self.asked.append(path)
        return await super().open(path, headers, body)

    def gone(self) -> str | None:
        return "it was killed" if self._dead else None

    def die(self) -> None:
        """It is found dead, and started again a second later."""
        self._dead = True


@dataclass
class Field:
    app: Gateway
    brain: Brain
    http: httpx.AsyncClient
    engines: Mapping[str, Mortal]

    async def post(self, route: str, **body: object) -> httpx.Response:
        return await self.http.post(f"{ROUTE}/{route}", json={"model": "m", **body})

    async def group(self, **body: object) -> dict[str, Any]:
        """A group that is written to its end."""
        answer = await self.post("groups", **{"prompt": PROMPT, "max_tokens": 8, **body})
        assert answer.status_code == 200, answer.text
        group: dict[str, Any] = answer.json()
        return group

    async def ordered(self, route: str, **body: object) -> dict[str, Any]:
        """What an order that succeeds answers."""
        answer = await self.post(route, **body)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def status(self) -> dict[str, Any]:
        answer = await self.http.get(ROUTE, params={"model": "m"})
        said: dict[str, Any] = answer.json()
        return said

    async def dies_and_returns(self, name: str) -> None:
        """Waits until the gateway has found the engine dead, and then up again."""
        self.engines[name].die()
        await eventually(lambda: name not in self.app.driver.engines, f"the end of {name}")
        await eventually(lambda: name in self.app.driver.engines, f"the return of {name}")

    async def until_writing(self, tokens: int = 3) -> None:
        """Waits until a call of a sample is under way with some tokens."""
        await eventually(
            lambda: any(ticket.output >= tokens for ticket in self.app.driver._tickets.values()), "a sample's tokens"
        )


@asynccontextmanager
async def field(*engines: str, speed: float = 20.0, **rollouts: object) -> AsyncIterator[Field]:
    """Engines of these names, whose clocks run at `speed`, with a `rollouts` section."""
    names = engines or ("a",)
    pool = {
        "model": "m",
        "engines": [{"name": name, "emulated": {"speed": speed}} for name in names],
        **({"rollouts": rollouts} if rollouts else {}),
    }
    config = parse({"pools": [pool]})
    brain = Brain(config.policy)
    made = {name: Mortal(EngineId(name), Emulated(speed=speed), "m") for name in names}
    async with (
        gateway(config, brain, list(made.values())) as app,
        serve(app) as url,
        httpx.AsyncClient(base_url=url, timeout=60) as http,
    ):
        await eventually(lambda: len(app.driver.engines) == len(names), "the start of all engines")
        yield Field(app, brain, http, made)
