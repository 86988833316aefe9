"""A whole gateway in front of an emulated engine, on a loopback port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agentserve.config import parse
from agentserve.engines.factory import build_engines, default_logs
from agentserve.gateway.assembly import gateway
from scheduler.brain import Brain, Decision
from scheduler.events import Event
from tests.gateway.world import eventually, serve

MODEL = "m"


class Listening(Brain):
    """A brain that keeps what it was told."""

    heard: list[Event]

    def handle(self, event: Event) -> Decision:
        self.__dict__.setdefault("heard", []).append(event)
        return super().handle(event)


@dataclass(frozen=True, slots=True)
class Served:
    """The gateway's address and its brain."""

    url: str
    brain: Listening = field(repr=False)

    def heard(self, kind: type[Event]) -> list[Event]:
        """The events of one kind that the brain was told, in their order."""
        return [event for event in self.brain.heard if isinstance(event, kind)]


@asynccontextmanager
async def emulated(speed: float = 20.0) -> AsyncIterator[Served]:
    """Starts it; `speed` is that of the engine's clock."""
    engine = {"name": "e", "emulated": {"speed": speed}}
    config = parse({"pools": [{"model": MODEL, "engines": [engine]}]})
    brain = Listening(config.policy)
    async with gateway(config, brain, build_engines(config, default_logs())) as app, serve(app) as url:
        await eventually(lambda: len(app.driver.engines) == 1, "the engine's start")
        yield Served(url, brain)
