"""A cell of real processes: gateways, emulated engines and a Redis server, to be killed one by one."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from agentserve.cell.journal import revive
from agentserve.state.redis import RedisStore
from scheduler.brain import Brain
from scheduler.policy import PRESETS
from tests.redis_fixture import RealRedis, free_port

CELL = "chaos"
READY_SECONDS = 300


@dataclass
class GatewayProcess:
    """One gateway, which can be killed and started again on its port."""

    name: str
    config: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    deaths: list[float] = field(default_factory=list)
    """When it was killed, by the monotonic clock."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        return self.process is not None

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "agentserve", "serve", "--config", str(self.config), "-v"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.deaths.append(time.monotonic())
        self.process.kill()
        self.process.wait()
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
    **settings: object,
) -> Iterator[Cluster]:
    """Runs while the block does. `redis_port` is where gateways look for the server, if not where it is."""
    (folder / "redis").mkdir()
    redis = RealRedis(folder / "redis")
    redis.start()
    serving = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.cell.engines", str(engines), str(speed)], stdout=subprocess.PIPE, text=True
    )
    assert serving.stdout is not None
    urls = [serving.stdout.readline().strip() for _ in range(engines)]
    found = Cluster(
        redis, [_gateway(folder, n, urls, redis_port or redis.port, settings) for n in range(gateways)], urls
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
        serving.wait()
        redis.stop()


def _gateway(
    folder: Path, number: int, urls: list[str], redis_port: int, settings: dict[str, object]
) -> GatewayProcess:
    port = free_port()
    engines = [{"name": f"e{index}", "url": url} for index, url in enumerate(urls)]
    config = {
        "listen": f"127.0.0.1:{port}",
        "pools": [{"model": "m", "engines": engines}],
        "store": {"redis": f"redis://127.0.0.1:{redis_port}/0", "cell": CELL},
        **settings,
    }
    file = folder / f"gateway-{number}.yaml"
    file.write_text(json.dumps(config))
    return GatewayProcess(f"gateway-{number}", file, port, folder / f"gateway-{number}.log")
