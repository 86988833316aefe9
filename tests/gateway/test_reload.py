"""A configuration that is read again while calls run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from agentserve.config import EngineSection, load
from agentserve.gateway.app import Gateway
from agentserve.gateway.assembly import gateway
from scheduler.brain import Brain, Decision
from scheduler.events import Event, TenantChanged
from tests.gateway.fakes import DONE, ROLE, STOP, USAGE, WORDS, FakeEngine, FakeReply
from tests.gateway.world import CHAT, chat, eventually, serve, within

RELOAD = "/agentserve/v1/reload"
TENANT = {"name": "default", "budget": {"tokens": 1000, "every": "1d"}}
BEFORE: dict[str, object] = {
    "policy": "vllm",
    "state": "",
    "tenants": [TENANT],
    "pools": [{"model": "m", "engines": [{"name": "a", "url": "http://a"}]}],
}


@dataclass
class Served:
    file: Path
    app: Gateway
    client: httpx.AsyncClient
    engines: dict[str, FakeEngine]

    def write(self, **changed: object) -> None:
        self.file.write_text(yaml.safe_dump(BEFORE | {"state": str(self.file.with_suffix(".json"))} | changed))

    async def reload(self, **changed: object) -> dict[str, object]:
        self.write(**changed)
        answer = await self.client.post(RELOAD)
        assert answer.status_code == 200, answer.text
        done: dict[str, object] = answer.json()
        return done


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    file = tmp_path / "agentserve.yaml"
    engines: dict[str, FakeEngine] = {}

    def build(section: EngineSection, model: str) -> FakeEngine:
        return engines.setdefault(section.name, FakeEngine(section.name))

    file.write_text(yaml.safe_dump(BEFORE | {"state": str(tmp_path / "agentserve.json")}))
    config = load(file)
    fleet = [build(section, pool.model) for pool, section in config.engines]
    async with (
        gateway(config, Brain(config.policy), fleet, read=lambda: load(file), build=build) as app,
        serve(app) as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        await eventually(lambda: len(app.driver.engines) == 1, "the start of the engine")
        yield Served(file, app, client, engines)


def pools(*names: str) -> list[dict[str, object]]:
    return [{"model": "m", "engines": [{"name": name, "url": f"http://{name}"} for name in names]}]


async def test_a_stream_goes_on_while_policy_tenants_and_pools_change_under_it(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        go_on = asyncio.Event()
        world.engines["a"].script.append(FakeReply([ROLE, WORDS[0], go_on, WORDS[1], STOP, USAGE, DONE]))
        begun, lines = asyncio.Event(), []

        async def ask() -> None:
            async with world.client.stream("POST", CHAT, json=chat(stream=True)) as answer:
                async for line in answer.aiter_lines():
                    lines.append(line)
                    begun.set()

        streaming = asyncio.create_task(ask())
        await within(begun)
        done = await world.reload(policy="agentserve", tenants=[{"name": "default", "weight": 3}], pools=pools("b"))
        assert done["changed"] == ["policy", "pools", "tenants"]
        assert (done["joined"], done["leaving"], done["after_restart"]) == (["b"], ["a"], [])
        brain = world.app.driver.brain
        assert brain.policy.name == "agentserve"
        await eventually(lambda: "b" in world.app.driver.engines, "the start of the new engine")
        await eventually(lambda: "a" in world.app.driver.leaving, "that the old one takes no more")
        assert (await world.client.post(CHAT, json=chat("new"))).headers["x-agentserve-engine"] == "b"
        go_on.set()
        await streaming
        assert lines.count("data: [DONE]") == 1
        assert any("world" in line for line in lines)
        await eventually(lambda: list(world.app.driver.engines) == ["b"], "that the old engine has left")
        await eventually(lambda: not brain.calls, "the end of all calls")
        brain.check_integrity()


async def test_what_was_spent_of_a_budget_stays_spent_under_other_terms(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        tenant = world.app.door.enter([]).tenant
        assert (await world.client.post(CHAT, json=chat())).status_code == 200
        assert tenant.budget is not None
        await eventually(lambda: tenant.budget is not None and tenant.budget.spent == 14, "that the call is charged")
        await world.reload(tenants=[{**TENANT, "budget": {"tokens": 10, "every": "1d"}}])
        refused = await world.client.post(CHAT, json=chat())
        assert refused.status_code == 429
        assert "budget of 10 tokens" in refused.text
        await world.reload(tenants=[])
        assert (await world.client.post(CHAT, json=chat())).status_code == 200


async def test_weights_reach_the_brain_also_of_a_tenant_that_is_named_no_more(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        weights: list[float] = []

        def heard(event: Event, decision: Decision) -> None:
            if isinstance(event, TenantChanged):
                weights.append(event.weight)

        world.app.driver.watch(heard)
        await world.reload(tenants=[{"name": "default", "weight": 3}])
        await world.reload(tenants=[])
        assert weights == [3, 1]


async def test_a_bad_file_changes_nothing_and_is_told_why(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        world.write(policy="agentserve", tenents=[])
        answer = await world.client.post(RELOAD)
        assert answer.status_code == 400
        message = answer.json()["error"]["message"]
        assert "the configuration of before goes on" in message
        assert "tenents" in message
        assert world.app.driver.brain.policy.name == "vllm"
        world.file.unlink()
        assert "cannot be read" in (await world.client.post(RELOAD)).json()["error"]["message"]
        assert (await world.client.post(CHAT, json=chat())).status_code == 200


async def test_an_engine_at_another_address_leaves_and_comes_back_under_its_name(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        old = world.engines.pop("a")
        done = await world.reload(pools=[{"model": "m", "engines": [{"name": "a", "url": "http://other"}]}])
        assert (done["joined"], done["leaving"]) == (["a"], ["a"])
        await eventually(lambda: world.app.driver.engines.get(old.name) is world.engines.get("a"), "the new one")
        assert world.engines["a"] is not old
        assert (await world.client.post(CHAT, json=chat())).status_code == 200
        assert not old.sent


async def test_a_model_comes_and_goes_with_its_pool(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        more = [*pools("a"), {"model": "n", "engines": [{"name": "b", "url": "http://b"}]}]
        await world.reload(pools=more)
        await eventually(lambda: "b" in world.app.driver.engines, "the start of the new engine")
        assert [card["id"] for card in (await world.client.get("/v1/models")).json()["data"]] == ["m", "n"]
        await world.reload(pools=pools("a"))
        await eventually(lambda: list(world.app.driver.engines) == ["a"], "that its engine has left")
        assert (await world.client.post(CHAT, json=chat() | {"model": "n"})).status_code == 404


async def test_what_needs_a_restart_is_named_and_the_rest_is_taken_up(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        done = await world.reload(policy="agentserve", listen="127.0.0.1:1", limits={"stall": 5})
        assert done["after_restart"] == ["limits", "listen"]
        assert world.app.driver.brain.policy.name == "agentserve"


async def test_a_signal_reloads_and_a_bad_file_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(tmp_path) as world:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, world.app.hang_up)
        try:
            world.write(policy="agentserve")
            os.kill(os.getpid(), signal.SIGHUP)
            await eventually(lambda: world.app.driver.brain.policy.name == "agentserve", "the new policy")
            world.write(policy="agentsreve")
            os.kill(os.getpid(), signal.SIGHUP)
            text = "the configuration of before goes on"
            await eventually(lambda: text in caplog.text, "the error in the log")
        finally:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
