"""Stores that cannot be used, and two brains on one engine: refused, with what to do."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis import Redis

from agentserve.config import EngineSection, parse
from agentserve.engines.attached import AttachedEngine
from agentserve.engines.base import OutrankedError, PinOrder
from agentserve.engines.emulated import EmulatedServer
from agentserve.engines.factory import build_engine
from agentserve.gateway.server import run
from agentserve.state import redis as store
from simulator.profile import CPU_SMOLLM2
from tests.cell.engines import CONFIG
from tests.redis_fixture import RealRedis, free_port

WRONG = 2


def refused(url: str, cell: str, caplog: pytest.LogCaptureFixture) -> str:
    """What a gateway says that cannot start with this store."""
    config = {
        "listen": f"127.0.0.1:{free_port()}",
        "pools": [{"model": "m", "engines": [{"name": "a", "url": f"http://127.0.0.1:{free_port()}"}]}],
        "store": {"redis": url, "cell": cell},
    }
    assert run(parse(config)) == WRONG
    return caplog.text


def test_a_missing_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = RealRedis(tmp_path, "--requirepass", "sesame")
    server.start()
    try:
        assert "as in redis://:PASSWORD@HOST:PORT" in refused(server.url, "c", caplog)
    finally:
        server.stop()


def test_another_schema(redis_server: RealRedis, caplog: pytest.LogCaptureFixture) -> None:
    cell = secrets.token_hex(4)
    with Redis.from_url(redis_server.url) as server:
        server.set(f"agentserve:{{{cell}}}:schema", 99)
    assert "is of schema 99, and this program reads 1; run the agentserve that wrote it" in refused(
        redis_server.url, cell, caplog
    )


def test_a_server_that_is_too_old(
    redis_server: RealRedis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "OLDEST", (99, 0))
    assert "99.0 or later is needed" in refused(redis_server.url, "c", caplog)


def test_no_server(caplog: pytest.LogCaptureFixture) -> None:
    assert "start a Redis server there" in refused(f"redis://127.0.0.1:{free_port()}", "c", caplog)


@pytest.fixture
async def engine() -> AsyncIterator[str]:
    server = EmulatedServer("m", CONFIG, CPU_SMOLLM2, 1000.0)
    yield await server.start()
    await server.stop()


async def attached(url: str) -> AttachedEngine:
    engine = build_engine(EngineSection(name="a", url=url), "m", Path())
    await engine.start(lambda _: None)
    return engine


async def test_the_first_of_two_brains_without_a_common_store_is_told_how_to_have_one(engine: str) -> None:
    first, second = await attached(engine), await attached(engine)
    order = [PinOrder("default/p", 1.0)]
    await first.pin(order, 1)
    await second.pin(order, 2)
    with pytest.raises(OutrankedError, match="two gateways on one engine need a common `store`, or one of them has to"):
        await first.pin(order, 1)
    await second.pin(order, 2)
    await first.stop()
    await second.stop()
