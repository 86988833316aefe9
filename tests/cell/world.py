"""A cell in one event loop: gateways with fake engines, and a store that can be cut off from each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from agentserve.config import Config
from agentserve.gateway.app import Gateway
from agentserve.gateway.assembly import gateway
from agentserve.gateway.driver import Driver
from agentserve.state.base import Store, StoreUnreachableError
from agentserve.state.memory import MemoryStore
from scheduler.brain import Brain
from scheduler.types import EngineSpec
from tests.gateway.fakes import SPEC, FakeEngine
from tests.gateway.world import CHAT, chat, configure, eventually, serve

LEASE = 1.5


class Cable:
    """One gateway's way to the store."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.cut = False

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def ask(*words: Any) -> Any:
            if self.cut and name != "close":
                raise StoreUnreachableError("store: the cable is cut")
            return await getattr(self._store, name)(*words)

        return ask


@dataclass
class Part:
    """One gateway of the cell."""

    app: Gateway
    engines: list[FakeEngine]
    cable: Cable
    client: httpx.AsyncClient
    stack: AsyncExitStack

    @property
    def driver(self) -> Driver:
        return self.app.driver

    async def ask(self, program: str, text: str = "hi") -> httpx.Response:
        headers = {"x-agentserve-program": program}
        answer = await self.client.post(CHAT, json=chat(text), headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer


@dataclass
class CellWorld:
    store: MemoryStore
    parts: list[Part] = field(default_factory=list)
    policy: str = "agentserve"
    """In the configuration of every gateway, when it is read again."""

    @property
    def leaders(self) -> list[Part]:
        return [part for part in self.parts if part.driver.standing == "here"]

    def logged(self, event: str) -> bool:
        """Whether the store's log has such an event."""
        return any(event.encode() in group for group in self.store._log)

    async def settle(self, *parts: Part) -> Part:
        """Waits until one of these has the brain and the others follow it."""
        among = parts or tuple(self.parts)

        def settled() -> bool:
            return sorted(part.driver.standing for part in among) == ["here", *["there"] * (len(among) - 1)]

        await eventually(settled, "one brain that all follow", 30.0)
        return next(part for part in among if part.driver.standing == "here")

    def others(self, part: Part) -> list[Part]:
        return [other for other in self.parts if other is not part]


@asynccontextmanager
async def cell(gateways: int = 2, spec: EngineSpec = SPEC) -> AsyncIterator[CellWorld]:
    world = CellWorld(MemoryStore())
    async with AsyncExitStack() as stack:
        for _ in range(gateways):
            own = await stack.enter_async_context(AsyncExitStack())
            engines = [FakeEngine("a", spec), FakeEngine("b", spec)]

            def read(engines: list[FakeEngine] = engines) -> Config:
                return configure(engines, policy=world.policy, store={"redis": "redis://unused", "lease": LEASE})

            config = read()
            cable = Cable(world.store)
            app = await own.enter_async_context(
                gateway(config, Brain(config.policy), engines, cast("Store", cable), read)
            )
            url = await own.enter_async_context(serve(app))
            client = await own.enter_async_context(httpx.AsyncClient(base_url=url))
            part = Part(app, engines, cable, client, own)
            await eventually(lambda part=part: len(part.driver.engines) == 2, "the start of all engines")  # type: ignore[misc]
            world.parts.append(part)
        await world.settle()
        yield world
