"""Engines that join and leave a gateway that serves, by a file and by registration."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentserve.config import ConfigError, parse
from agentserve.discovery.base import DiscoveryError
from agentserve.discovery.file import FileSource
from agentserve.discovery.registry import RegistrySource
from agentserve.discovery.section import Entry
from agentserve.engines.emulated import EmulatedServer
from agentserve.gateway.app import Gateway
from agentserve.gateway.assembly import gateway
from agentserve.state.memory import MemoryStore
from scheduler.brain import Brain
from simulator.engine import EngineConfig
from simulator.profile import CPU_SMOLLM2
from tests.gateway.world import CHAT, chat, eventually, serve

ENGINES = "/agentserve/v1/engines"
SIZE = EngineConfig(num_blocks=512, block_size=16, max_model_len=8192, max_num_seqs=16, max_num_batched_tokens=2048)


@asynccontextmanager
async def emulated(count: int) -> AsyncIterator[list[str]]:
    """Urls of so many engines."""
    servers = [EmulatedServer("m", SIZE, CPU_SMOLLM2, speed=50.0) for _ in range(count)]
    try:
        yield [await server.start() for server in servers]
    finally:
        for server in servers:
            await server.stop()


@asynccontextmanager
async def served(**discovery: object) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    config = parse({"pools": [{"model": "m"}], "discovery": discovery})
    async with (
        gateway(config, Brain(config.policy), []) as app,
        serve(app) as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        yield app, client


def write(path: Path, **engines: str) -> None:
    path.write_text(
        json.dumps({"engines": [{"name": name, "url": url, "model": "m"} for name, url in engines.items()]})
    )


async def ask(client: httpx.AsyncClient, *turns: str) -> tuple[str, dict[str, Any]]:
    """A call of program p: the engine that took it, and its usage."""
    messages = [{"role": "user", "content": turn} for turn in turns]
    headers = {"x-agentserve-program": "p", "x-agentserve-workflow": "w"}
    answer = await client.post(CHAT, json=chat() | {"messages": messages, "max_tokens": 4}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-agentserve-engine"], answer.json()["usage"]


async def test_an_edit_of_the_file_replaces_an_engine_and_its_programs_find_their_kv_on_the_new_one(
    tmp_path: Path,
) -> None:
    listed = tmp_path / "engines.json"
    async with emulated(2) as (first, second):
        write(listed, old=first)
        async with served(file=str(listed)) as (app, client):
            await eventually(lambda: "old" in app.driver.engines, "the first engine")
            turns = ["long " * 400]
            for turn in ("and then?", "go on"):
                assert (await ask(client, *turns))[0] == "old"
                turns.append(turn)
            write(listed, new=second)
            await eventually(lambda: list(app.driver.engines) == ["new"], "the new engine instead of the old one")
            engine, usage = await ask(client, *turns)
            assert engine == "new"
            assert usage["prompt_tokens_details"]["cached_tokens"] > usage["prompt_tokens"] / 2, "it was prewarmed"
            (shown,) = (await client.get(ENGINES)).json()["engines"]
            assert (shown["name"], shown["leaving"]) == ("new", False)


async def test_a_broken_file_keeps_the_last_good_list_and_says_why(tmp_path: Path) -> None:
    listed = tmp_path / "engines.yaml"
    async with emulated(1) as (url,):
        write(listed, a=url)
        async with served(file=str(listed)) as (app, client):
            await eventually(lambda: "a" in app.driver.engines, "the engine")
            listed.write_text("engines: [{name: b, ulr: http://x, model: m}]")
            await eventually(lambda: bool(app.fleet.problems), "the complaint")
            answer = (await client.get(ENGINES)).json()
            assert "did you mean 'url'" in answer["discovery"]["file"]
            assert "the last list holds" in answer["discovery"]["file"]
            assert (await ask(client, "hi"))[0] == "a"


async def test_an_engine_of_no_pool_is_refused_and_the_others_join(tmp_path: Path) -> None:
    listed = tmp_path / "engines.json"
    async with emulated(1) as (url,):
        entries = [{"name": "a", "url": url, "model": "m"}, {"name": "b", "url": url, "model": "other"}]
        listed.write_text(json.dumps({"engines": entries}))
        async with served(file=str(listed)) as (app, _):
            await eventually(lambda: "a" in app.driver.engines, "the engine")
            assert "there is no pool 'other'; the pools are m" in app.fleet.problems["file"]


async def test_an_engine_registers_and_withdraws() -> None:
    async with emulated(1) as (url,), served(http=True) as (app, client):
        entry = {"name": "a", "url": url, "model": "m", "labels": {"gpu": "L4"}, "speed": 4000.0, "lease": "30s"}
        assert (await client.post(ENGINES, json=entry)).json() == {"registered": "a", "lease": 30.0}
        await eventually(lambda: "a" in app.driver.engines, "the engine")
        (shown,) = (await client.get(ENGINES)).json()["engines"]
        assert (shown["labels"], shown["spec"]["prefill_tokens_per_s"]) == ({"gpu": "L4"}, 4000.0)
        assert (await client.delete(f"{ENGINES}/a")).json() == {"leaving": "a"}
        await eventually(lambda: not app.driver.engines, "the engine's end")


async def test_an_engine_that_does_not_register_again_falls_out() -> None:
    async with emulated(1) as (url,), served(http=True) as (app, client):
        await client.post(ENGINES, json={"name": "a", "url": url, "model": "m", "lease": 1.5})
        await eventually(lambda: "a" in app.driver.engines, "the engine")
        await eventually(lambda: not app.driver.engines, "the engine's end")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "other"}, "there is no pool 'other'; the pools are m"),
        ({"url": "a:1"}, "begins with http://"),
        ({"ulr": "http://a"}, "did you mean 'url'"),
        ({"lease": -1}, "greater than 0"),
    ],
)
async def test_a_wrong_registration_is_refused(change: dict[str, object], said: str) -> None:
    async with served(http=True) as (_, client):
        answer = await client.post(ENGINES, json={"name": "a", "url": "http://a", "model": "m", **change})
        assert answer.status_code == 400
        assert said in answer.json()["error"]["message"]


async def test_without_http_discovery_a_registration_is_told_how_to_have_it(tmp_path: Path) -> None:
    async with served(file=str(tmp_path / "none")) as (_, client):
        answer = await client.post(ENGINES, json={"name": "a", "url": "http://a", "model": "m"})
        assert answer.status_code == 404
        assert "discovery: {http: true}" in answer.json()["error"]["message"]


async def test_a_store_that_lost_its_registrations_takes_no_engine_away_before_its_lease_is_over() -> None:
    registry = RegistrySource(MemoryStore())
    entry = Entry(name="a", url="http://a", model="m")
    await registry.register(entry, 30.0)
    assert await registry.listed() == [entry]
    registry._store = MemoryStore()
    assert await registry.listed() == [entry]
    await registry.withdraw("a")
    assert await registry.listed() == [], "but a withdrawal counts"


async def test_names_of_a_list_must_differ(tmp_path: Path) -> None:
    listed = tmp_path / "engines.yaml"
    listed.write_text("engines: [{name: a, url: http://x, model: m}, {name: a, url: http://y, model: m}]")
    with pytest.raises(DiscoveryError, match="'a' is used more than once"):
        await FileSource(listed).listed()


def test_a_pool_without_engines_needs_discovery() -> None:
    with pytest.raises(ConfigError, match="'m' has no engine; name one, or say where they are with `discovery`"):
        parse({"pools": [{"model": "m"}]})
