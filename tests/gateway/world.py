"""A whole gateway on a loopback port, in front of fake engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from starlette.types import ASGIApp

from agentserve.config import Config, parse
from agentserve.gateway.app import Gateway
from agentserve.gateway.assembly import gateway
from agentserve.gateway.driver import Driver
from agentserve.gateway.server import listen
from scheduler.brain import Brain
from tests.gateway.fakes import FakeEngine

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
ANY_POOL = [{"model": "m", "engines": [{"url": "http://fake"}]}]


@dataclass
class World:
    config: Config
    brain: Brain
    engines: list[FakeEngine]
    app: Gateway
    driver: Driver
    url: str
    client: httpx.AsyncClient

    @property
    def engine(self) -> FakeEngine:
        return self.engines[0]


def configure(engines: list[FakeEngine], **settings: object) -> Config:
    pools = [{"model": "m", "engines": [{"name": engine.name, "url": engine.url} for engine in engines]}]
    return parse({"pools": pools, "policy": "vllm", **settings})


@asynccontextmanager
async def world(*engines: FakeEngine, kind: type[Brain] = Brain, **settings: object) -> AsyncIterator[World]:
    fleet = list(engines) or [FakeEngine()]
    config = configure(fleet, **settings)
    brain = kind(config.policy, idle_timeout=config.program_idle_timeout)
    async with gateway(config, brain, fleet) as app, serve(app) as url, httpx.AsyncClient(base_url=url) as client:
        await eventually(lambda: len(app.driver.engines) == len(fleet), "the start of all engines")
        yield World(config, brain, fleet, app, app.driver, url, client)


@asynccontextmanager
async def serve(app: ASGIApp) -> AsyncIterator[str]:
    listener = listen(parse({"listen": "127.0.0.1:0", "pools": ANY_POOL}))
    settings = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(settings)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def eventually(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Waits until the condition holds."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{what} did not happen within {seconds} s")


async def within(event: asyncio.Event, seconds: float = 5.0) -> None:
    """Waits for what has to happen soon."""
    async with asyncio.timeout(seconds):
        await event.wait()


async def until_idle(brain: Brain) -> None:
    """Waits until no call is left, and checks that nothing is held for one."""
    await eventually(lambda: not brain.calls, "the end of all calls")
    assert all(not engine.running for engine in brain.engines.values())


def chat(text: str = "hi", **fields: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
