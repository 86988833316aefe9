"""A cell of real processes: gateways, emulated engines and a Redis server, to be killed one by one."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
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
from tests.cell.engines import serve
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
class GatewayProcess:
    """One gateway, which can be killed and started again on its port."""

    name: str
    config: Path
    port: int
    log: Path
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
        self.process = FORKS.Process(target=_serve, args=(self.config, self.log), daemon=True)
        self.process.start()

    def kill(self) -> None:
        assert self.process is not None
        self.deaths.append(time.monotonic())
        self.process.kill()
        self.process.join()
        self.process = None

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
    engines: list[str]

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
        store = RedisStore(self.redis.url, CELL)
        await store.open()
        try:
            saved = await store.restore()
            assert saved is not None, "there is nothing in the store"
            return revive(saved, PRESETS["agentserve"], 900.0)
        finally:
            await store.close()


@contextlib.contextmanager
def cluster(
    folder: Path,
    *,
    gateways: int = 3,
    engines: int = 4,
    speed: float = 20.0,
    redis_port: int | None = None,
    lease: float = 1.5,
    **settings: object,
) -> Iterator[Cluster]:
    """Runs while the block does. `redis_port` is where gateways look for the server, if not where it is."""
    (folder / "redis").mkdir()
    redis = RealRedis(folder / "redis")
    redis.start()
    ours, theirs = FORKS.Pipe(duplex=False)
    serving = FORKS.Process(target=serve, args=(engines, speed, theirs), daemon=True)
    serving.start()
    urls = ours.recv()
    found = Cluster(
        redis, [_gateway(folder, n, urls, redis_port or redis.port, lease, settings) for n in range(gateways)], urls
    )
    try:
        for gateway in found.gateways:
            gateway.start()
        found.settle()
        yield found
    finally:
        for gateway in found.gateways:
            if gateway.alive:
                gateway.kill()
        serving.kill()
        serving.join()
        redis.stop()


def _gateway(
    folder: Path, number: int, urls: list[str], redis_port: int, lease: float, settings: dict[str, object]
) -> GatewayProcess:
    port = free_port()
    engines = [{"name": f"e{index}", "url": url} for index, url in enumerate(urls)]
    config = {
        "listen": f"127.0.0.1:{port}",
        "pools": [{"model": "m", "engines": engines}],
        "store": {"redis": f"redis://127.0.0.1:{redis_port}/0", "cell": CELL, "lease": lease},
        **settings,
    }
    file = folder / f"gateway-{number}.yaml"
    file.write_text(json.dumps(config))
    return GatewayProcess(f"gateway-{number}", file, port, folder / f"gateway-{number}.log")
