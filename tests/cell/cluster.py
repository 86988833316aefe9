"""A cell of real processes: gateways, emulated engines and a Redis server, to be killed one by one."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import httpx

from agentserve.cell.journal import revive
from agentserve.config import load
from agentserve.gateway.server import run
from agentserve.logs import configure
from agentserve.state.redis import RedisStore
from scheduler.brain import Brain
from scheduler.policy import PRESETS
from tests.cell.cables import Cable
from tests.cell.engines import Entry, read, serve
from tests.redis_fixture import RealRedis, free_port

CELL = "chaos"
READY_SECONDS = 300


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["agentserve.gateway.server", "agentserve.state.redis", "tests.cell.engines"])
"""Processes of their own that need not import everything anew: a gateway that was killed is soon there again."""


def _serve(config: Path, log: Path) -> None:
    """A gateway, in its process."""
    with log.open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    chosen = load(config)
    configure(chosen.log, verbose=True)
    raise SystemExit(run(chosen))


@dataclass
class Mortal:
    """A process that can be killed and started again on its port."""

    name: str
    port: int
    process: ForkServerProcess | None = None
    deaths: list[float] = field(default_factory=list)
    """When it was killed, by the monotonic clock."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        return self.process is not None

    def start(self) -> None:
        self.process = self.made()
        self.process.start()

    def made(self) -> ForkServerProcess:
        raise NotImplementedError

    def kill(self) -> None:
        assert self.process is not None
        self.deaths.append(time.monotonic())
        self.process.kill()
        self.process.join()
        self.process = None
        while self._accepts():  # the kernel still has its socket: what it takes now comes to nothing
            time.sleep(0.005)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def freeze(self) -> None:
        """It does nothing until `thaw`, and does not know."""
        assert self.process is not None
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGCONT)


@dataclass
class EngineProcess(Mortal):
    """One emulated engine."""

    diary: Path = Path()
    speed: float = 1.0

    def made(self) -> ForkServerProcess:
        return FORKS.Process(target=serve, args=(self.port, self.speed, self.diary), daemon=True)

    def entries(self) -> list[Entry]:
        """What it has seen, in all its lives."""
        return list(read(self.diary)) if self.diary.exists() else []


@dataclass
class GatewayProcess(Mortal):
    """One gateway."""

    config: Path = Path()
    log: Path = Path()
    cable: Cable | None = None
    """Its way to the store, where that can be cut."""

    def made(self) -> ForkServerProcess:
        return FORKS.Process(target=_serve, args=(self.config, self.log), daemon=True)

    def standing(self) -> str:
        """Where the brain is, as it sees it; "" if it does not answer or is not ready."""
        try:
            answer = httpx.get(f"{self.url}/ready", timeout=5)
        except httpx.TransportError:
            return ""
        return str(answer.json()["brain"]) if answer.status_code == 200 else ""

    def until(self, *standings: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while self.standing() not in standings:
            assert time.monotonic() < deadline, f"{self.name} is {self.standing()!r}, not {standings}: see {self.log}"
            time.sleep(0.1)


@dataclass
class Cluster:
    """Everything that runs."""

    redis: RealRedis
    gateways: list[GatewayProcess]
    engines: list[EngineProcess]

    def leader(self) -> GatewayProcess | None:
        """The gateway with the brain."""
        return next((gateway for gateway in self.gateways if gateway.alive and gateway.standing() == "here"), None)

    def settle(self) -> GatewayProcess:
        """Waits until one has the brain and all others follow it."""
        for gateway in self.gateways:
            gateway.until("here", "there")
        leader = self.leader()
        assert leader is not None, "all follow, and nobody leads"
        return leader

    async def brain(self) -> Brain:
        """The brain as the store has it."""
        brain = await self.stored()
        assert brain is not None, "there is nothing in the store"
        return brain

    async def stored(self) -> Brain | None:
        """The brain as the store has it, if it has one."""
        store = RedisStore(self.redis.url, CELL)
        await store.open()
        try:
            saved = await store.restore()
            return None if saved is None else revive(saved, PRESETS["agentserve"], 900.0)
        finally:
            await store.close()


@contextlib.contextmanager
def cluster(
    folder: Path,
    *,
    gateways: int = 3,
    engines: int = 4,
    speed: float = 1.0,
    cables: bool = False,
    lease: float = 1.5,
    **settings: object,
) -> Iterator[Cluster]:
    """Runs while the block does. With `cables` each gateway has a way to the store that can be cut."""
    (folder / "redis").mkdir()
    redis = RealRedis(folder / "redis")
    redis.start()
    fleet = [
        EngineProcess(f"e{number}", free_port(), diary=folder / f"engine-{number}.diary", speed=speed)
        for number in range(engines)
    ]
    ways = [Cable(redis.port) if cables else None for _ in range(gateways)]
    found = Cluster(
        redis, [_gateway(folder, n, fleet, redis, ways[n], lease, settings) for n in range(gateways)], fleet
    )
    try:
        for process in (*fleet, *found.gateways):
            process.start()
        found.settle()
        yield found
    finally:
        for process in (*found.gateways, *fleet):
            if process.alive:
                process.kill()
        for way in ways:
            if way is not None:
                way.close()
        redis.stop()


def _gateway(
    folder: Path,
    number: int,
    fleet: list[EngineProcess],
    redis: RealRedis,
    cable: Cable | None,
    lease: float,
    settings: dict[str, object],
) -> GatewayProcess:
    port, store = free_port(), redis.port if cable is None else cable.port
    config = {
        "listen": f"127.0.0.1:{port}",
        "pools": [{"model": "m", "engines": [{"name": engine.name, "url": engine.url} for engine in fleet]}],
        "store": {"redis": f"redis://127.0.0.1:{store}/0", "cell": CELL, "lease": lease},
        **settings,
    }
    file = folder / f"gateway-{number}.yaml"
    file.write_text(json.dumps(config))
    return GatewayProcess(f"gateway-{number}", port, config=file, log=folder / f"gateway-{number}.log", cable=cable)
