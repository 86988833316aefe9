"""Pools that start an engine when calls wait for one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from agentserve.config import parse
from agentserve.gateway.app import Gateway
from agentserve.gateway.assembly import gateway
from scheduler.brain import Brain
from tests.gateway.fakes import FakeEngine
from tests.gateway.world import CHAT, chat, eventually, serve


@asynccontextmanager
async def at_zero(**settings: object) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    pools = [{"model": "m", "on_demand": True}]
    config = parse({"pools": pools, "discovery": {"http": True}, "policy": "vllm", **settings})
    async with (
        gateway(config, Brain(config.policy), []) as app,
        serve(app) as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        yield app, client


async def test_calls_are_held_until_the_engine_is_there_and_ready_says_so() -> None:
    async with at_zero() as (app, client):
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["at_zero"]) == (200, {"m": 0})
        calls = [asyncio.create_task(client.post(CHAT, json=chat(f"p{number}"))) for number in range(2)]
        await eventually(lambda: app.fleet.held == {"m": 2}, "two held calls")
        assert (await client.get("/ready")).json() == {"ready": True, "waiting_for": {}, "at_zero": {"m": 2}}
        app.fleet.join("m", FakeEngine())
        assert [(await call).status_code for call in calls] == [200, 200]
        assert app.fleet.held == {"m": 0}
        assert (await client.get("/ready")).json() == {"ready": True, "waiting_for": {}}


async def test_when_the_last_engine_has_left_calls_are_held_again() -> None:
    async with at_zero() as (app, client):
        app.fleet.join("m", FakeEngine("a"))
        assert (await client.post(CHAT, json=chat())).status_code == 200
        await app.fleet.leave(FakeEngine("a").name, 1.0)
        call = asyncio.create_task(client.post(CHAT, json=chat()))
        await eventually(lambda: app.fleet.held == {"m": 1}, "a held call")
        app.fleet.join("m", FakeEngine("b"))
        assert (await call).headers["x-agentserve-engine"] == "b"


async def test_a_tenants_queue_bounds_how_many_are_held() -> None:
    async with at_zero(tenants=[{"name": "default", "queue": 1}]) as (app, client):
        first = asyncio.create_task(client.post(CHAT, json=chat()))
        await eventually(lambda: app.fleet.held == {"m": 1}, "a held call")
        second = await client.post(CHAT, json=chat())
        assert (second.status_code, second.json()["error"]["code"]) == (429, "queue_full")
        app.fleet.join("m", FakeEngine())
        assert (await first).status_code == 200


async def test_a_call_whose_client_leaves_is_held_no_more() -> None:
    async with at_zero() as (app, client):
        call = asyncio.create_task(client.post(CHAT, json=chat()))
        await eventually(lambda: app.fleet.held == {"m": 1}, "a held call")
        call.cancel()
        await eventually(lambda: app.fleet.held == {"m": 0}, "its end")


async def test_an_engine_that_does_not_come_within_the_limit_of_a_call_is_said_so() -> None:
    async with at_zero(limits={"total": 0.2}) as (app, client):
        answer = await client.post(CHAT, json=chat())
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_engine")
        assert "has started within 0.2 s" in answer.json()["error"]["message"]
        assert app.fleet.held == {"m": 0}
