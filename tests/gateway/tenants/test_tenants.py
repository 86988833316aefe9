"""Tenants at a whole gateway: keys, isolation, what passes to engines, and limits."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import agentserve.gateway.tenants.door as door
from agentserve.gateway.app import OPEN
from agentserve.gateway.passthrough import PASSED
from agentserve.gateway.protocols import PROTOCOLS
from agentserve.gateway.tenants.keys import KeyRing, Role, changing
from scheduler.brain import Brain, Decision
from scheduler.events import CallArrived, Event, TenantChanged
from scheduler.types import ProgramKey, TenantId
from tests.gateway.fakes import STREAM, FakeEngine, FakeReply
from tests.gateway.spoken import SPOKEN
from tests.gateway.world import CHAT, RESPONSES, World, chat, eventually, until_idle, within, world

PROGRAMS = "/agentserve/v1/programs"
RUN = {"x-agentserve-program": "run"}


@dataclass
class Keyed:
    world: World
    ring: KeyRing
    path: Path
    keys: Mapping[str, str]

    def as_(self, who: str, **more: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[who]}", **more}

    async def chat(self, who: str, text: str = "hi", **fields: object) -> httpx.Response:
        return await self.world.client.post(CHAT, json=chat(text, **fields), headers=self.as_(who) | RUN)


@asynccontextmanager
async def keyed(
    path: Path, *engines: FakeEngine, kind: type[Brain] = Brain, **settings: object
) -> AsyncIterator[Keyed]:
    """Clients `a` and `b`, and the admin `root`."""
    with changing(path / "keys.json") as ring:
        keys = {name: ring.create(name, 0.0).text for name in ("a", "b")}
        keys["root"] = ring.create("root", 0.0, role=Role.ADMIN).text
        keys["old"] = ring.create("a", 0.0, lasts=1.0).text
    async with world(*engines, kind=kind, keys=str(path / "keys.json"), **settings) as w:
        yield Keyed(w, ring, path / "keys.json", keys)


@pytest.mark.parametrize("name", SPOKEN)
async def test_without_a_good_key_every_protocol_answers_401_in_its_own_shape(name: str, tmp_path: Path) -> None:
    spoken = SPOKEN[name]
    async with keyed(tmp_path) as k:
        for headers, said in (
            ({}, "no API key"),
            ({"authorization": "Basic abc"}, "no API key"),
            ({"authorization": "Bearer nonsense"}, "not valid"),
            ({"x-api-key": k.keys["old"]}, "expired"),
        ):
            answer = await k.world.client.post(spoken.path, json=spoken.request, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert said in spoken.error(answer.json())
        assert not k.world.engine.sent
        assert not k.world.brain.programs


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_a_good_key_opens_by_either_header_and_never_reaches_an_engine(header: str, tmp_path: Path) -> None:
    async with keyed(tmp_path) as k:
        text = f"Bearer {k.keys['a']}" if header == "authorization" else k.keys["a"]
        answer = await k.world.client.post(CHAT, json=chat(), headers={header: text})
        assert answer.status_code == 200
        sent = k.world.engine.sent[0]
        assert k.keys["a"] not in json.dumps([dict(sent.headers), sent.body.decode()])


async def test_every_route_but_those_for_probes_needs_a_key(tmp_path: Path) -> None:
    async with keyed(tmp_path) as k:
        document = (await k.world.client.get("/openapi.json", headers=k.as_("a"))).json()
        for path in (*document["paths"], *PASSED, "/docs", "/openapi.json", "/nothing"):
            answer = await k.world.client.get(path)
            assert answer.status_code == (200 if path in OPEN else 401), path


CLIENTS = {"/v1/models", "/v1/models/{model}", PROGRAMS, "/agentserve/v1/rollouts/groups", *PROTOCOLS, *PASSED}
"""The routes that need no admin key; with those below a program, where it is a tenant's own."""


async def test_every_route_that_is_not_the_clients_needs_an_admin_key(tmp_path: Path) -> None:
    async with keyed(tmp_path) as k:
        for path in ("/metrics", "/agentserve/v1/engines"):
            assert (await k.world.client.get(path, headers=k.as_("root"))).status_code == 200
        document = (await k.world.client.get("/openapi.json", headers=k.as_("a"))).json()
        operators = [
            (method, path)
            for path, methods in document["paths"].items()
            for method in methods
            if path not in CLIENTS | OPEN and not path.startswith(f"{PROGRAMS}/")
        ]
        assert len(operators) > 10
        for method, path in operators:
            refused = await k.world.client.request(method, path, headers=k.as_("a"), json={"model": "m"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_key_needed"), (method, path)


async def test_a_tenant_cannot_see_steer_or_end_anothers_program(tmp_path: Path) -> None:
    async with keyed(tmp_path) as k:
        get, mine = k.world.client.get, ProgramKey(TenantId("a"), "run")
        await k.chat("a")
        assert list(k.world.brain.programs) == [mine]
        assert (await get(PROGRAMS, headers=k.as_("b"))).json() == {"programs": []}
        for method, path, status in (
            ("GET", f"{PROGRAMS}/run", 404),
            ("DELETE", f"{PROGRAMS}/run", 404),
            ("POST", f"{PROGRAMS}/run/hints", 404),
            ("GET", f"{PROGRAMS}?tenant=a", 403),
            ("DELETE", f"{PROGRAMS}/run?tenant=a", 403),
            ("POST", f"{PROGRAMS}/run/hints?tenant=a", 403),
        ):
            answer = await k.world.client.request(method, path, headers=k.as_("b"), json={"remaining_calls": 1})
            assert answer.status_code == status, (method, path)
        assert k.world.brain.programs[mine].remaining_calls is None
        (seen,) = (await get(PROGRAMS, headers=k.as_("root"))).json()["programs"]
        assert (seen["tenant"], seen["id"]) == ("a", "run")
        assert (await k.world.client.delete(f"{PROGRAMS}/run?tenant=a", headers=k.as_("root"))).status_code == 200
        assert not k.world.brain.programs


async def test_the_same_id_and_the_same_history_are_two_programs_of_two_tenants(tmp_path: Path) -> None:
    history = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello world"},
        {"role": "user", "content": "on"},
    ]
    async with keyed(tmp_path) as k:
        first = await k.world.client.post(CHAT, json=chat(), headers=k.as_("a"))
        body = {"model": "m", "messages": history}
        others = await k.world.client.post(CHAT, json=body, headers=k.as_("b"))
        own = await k.world.client.post(CHAT, json=body, headers=k.as_("a"))
        assert own.headers["x-agentserve-program"] == first.headers["x-agentserve-program"]
        assert others.headers["x-agentserve-program"] != first.headers["x-agentserve-program"]


async def test_a_pin_is_of_its_tenants_program(tmp_path: Path) -> None:
    async with keyed(tmp_path, policy={"retention": {"fixed_ttl": {"ttl": 60.0}}}) as k:
        await k.chat("a")
        await k.chat("b")
        programs = [sent.json["vllm_xargs"]["agentserve_program"] for sent in k.world.engine.sent]  # type: ignore[index]
        assert programs == ["a/run", "b/run"]


async def test_anothers_response_cannot_be_gone_on_from(tmp_path: Path) -> None:
    spoken = SPOKEN["responses"]
    async with keyed(tmp_path) as k:
        k.world.engine.script.append(_reply(spoken.whole))
        assert (await k.world.client.post(RESPONSES, json=spoken.request, headers=k.as_("a"))).status_code == 200
        following = {**spoken.request, "previous_response_id": "resp_1"}
        stolen = await k.world.client.post(RESPONSES, json=following, headers=k.as_("b"))
        assert (stolen.status_code, stolen.json()["error"]["code"]) == (400, "previous_response_not_found")
        assert len(k.world.engine.sent) == 1
        k.world.engine.script.append(_reply(spoken.whole))
        assert (await k.world.client.post(RESPONSES, json=following, headers=k.as_("a"))).status_code == 200


def _reply(body: bytes) -> FakeReply:
    return FakeReply([body], headers={"content-type": "application/json"})


@pytest.mark.parametrize("name", SPOKEN)
async def test_each_tenants_cache_is_its_own_unless_it_shares(name: str, tmp_path: Path) -> None:
    spoken = SPOKEN[name]
    async with keyed(tmp_path, tenants=[{"name": "b", "shared_cache": True}]) as k:
        for who in ("a", "b"):
            k.world.engine.script.append(_reply(spoken.whole))
            fields = {**spoken.request, "cache_salt": "agentserve:b"}
            assert (await k.world.client.post(spoken.path, json=fields, headers=k.as_(who))).status_code == 200
        assert [sent.json.get("cache_salt") for sent in k.world.engine.sent] == ["agentserve:a", None]


async def test_the_account_knows_that_tenants_share_no_prefix(tmp_path: Path) -> None:
    text = "the same long prompt " * 400
    async with keyed(tmp_path, tenants=[{"name": "b"}]) as k:
        await k.chat("a", text)
        await k.chat("b", text)
        one, other = (program.marks for program in k.world.brain.programs.values())
        assert one
        assert not {mark.hash for mark in one} & {mark.hash for mark in other}


async def test_what_steers_an_engine_passes_for_those_alone_who_may(tmp_path: Path) -> None:
    arguments = {"x": 1, "agentserve_rank": -5, "kv_transfer_params": "k", "session_id": "s"}
    steering = {"vllm_xargs": arguments, "cache_salt": "c", "skip_reading_prefix_cache": False}
    tenants = [{"name": "b", "allow": ["vllm_xargs", "cache_salt", "x-session-id"]}]
    async with keyed(tmp_path, tenants=tenants) as k:
        headers = {"x-session-id": "s", "x-vllm-priority": "-9"}
        for who in ("a", "b"):
            await k.world.client.post(
                CHAT, json={**chat(), **steering, "kv_transfer_params": {}}, headers=k.as_(who) | headers
            )
        kept, passed = k.world.engine.sent
        assert "x" not in kept.json["vllm_xargs"]  # type: ignore[operator]
        assert (kept.json["cache_salt"], kept.headers.get("x-session-id")) == ("agentserve:a", None)
        told = passed.json["vllm_xargs"]
        assert isinstance(told, dict)
        assert (told["x"], passed.json["cache_salt"]) == (1, "agentserve:b:c")
        assert told["agentserve_rank"] != -5
        assert not {"kv_transfer_params", "session_id"} & set(told), "what may not pass may not pass in there either"
        assert passed.headers["x-session-id"] == "s"
        for sent in (kept, passed):
            assert not {"skip_reading_prefix_cache", "kv_transfer_params"} & set(sent.json)
            assert "x-vllm-priority" not in sent.headers


async def test_a_tenant_that_shares_its_cache_cannot_ask_for_anothers(tmp_path: Path) -> None:
    tenants = [{"name": "b", "shared_cache": True, "allow": ["cache_salt"]}]
    async with keyed(tmp_path, tenants=tenants) as k:
        for salt in ("mine", "agentserve:a"):
            await k.chat("b", cache_salt=salt)
        assert [sent.json["cache_salt"] for sent in k.world.engine.sent] == ["mine", ":agentserve:a"]


async def test_what_does_not_pass_in_calls_does_not_in_rollouts(tmp_path: Path) -> None:
    sampling = {"vllm_xargs": {"agentserve_score_tail": 9}, "priority": -9, "cache_salt": "agentserve:b", "top_k": 3}
    body = {"model": "m", "prompt": [1, 2, 3], "max_tokens": 4, "sampling": sampling}
    async with keyed(tmp_path) as k:
        await k.world.client.post("/agentserve/v1/rollouts/groups", json=body, headers=k.as_("a"))
        sent = k.world.engine.sent[0].json
        assert (sent["top_k"], sent["priority"], sent["cache_salt"]) == (3, 0, "agentserve:a")
        assert set(sent["vllm_xargs"]) == {"agentserve_program", "agentserve_rank", "agentserve_ttl"}  # type: ignore[call-overload]


@pytest.mark.parametrize("name", SPOKEN)
async def test_over_a_limit_every_protocol_answers_429_and_says_when_to_come_again(name: str, tmp_path: Path) -> None:
    spoken = SPOKEN[name]
    async with keyed(tmp_path, tenants=[{"name": "a", "requests_per_minute": 1}]) as k:
        k.world.engine.script.append(_reply(spoken.whole))
        for status in (200, 429):
            answer = await k.world.client.post(spoken.path, json=spoken.request, headers=k.as_("a"))
            assert answer.status_code == status
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert "requests a minute" in spoken.error(answer.json())
        assert len(k.world.engine.sent) == 1


async def test_a_stream_counts_against_the_concurrency_until_it_has_ended(tmp_path: Path) -> None:
    go = asyncio.Event()
    async with keyed(tmp_path, tenants=[{"name": "a", "concurrency": 1}]) as k:
        k.world.engine.script.append(FakeReply([STREAM[0], go, *STREAM[1:]]))
        first = asyncio.create_task(k.chat("a", stream=True))
        await within(k.world.engine.opened)
        refused = await k.world.client.post("/tokenize", json=chat(), headers=k.as_("a"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert (await k.chat("b")).status_code == 200
        go.set()
        assert (await first).status_code == 200
        assert (await k.chat("a")).status_code == 200


async def test_a_call_that_was_refused_leaves_no_history(tmp_path: Path) -> None:
    first, go = "word " * 3000, asyncio.Event()
    async with keyed(tmp_path, policy="agentserve", tenants=[{"name": "a", "queue": 1}]) as k:
        post, engine = k.world.client.post, k.world.engine
        engine.script.append(go)
        tasks = [asyncio.create_task(post(CHAT, json=chat(first), headers=k.as_("a") | RUN))]
        await within(engine.opened)
        tasks.append(asyncio.create_task(post(CHAT, json=chat(f"{first}2"), headers=k.as_("a"))))
        await eventually(lambda: k.world.brain.waiting == 1, "the second call's waiting")
        assert (await post(CHAT, json=chat("short"), headers=k.as_("a"))).status_code == 429
        go.set()
        await asyncio.gather(*tasks)
        again = await post(CHAT, json=chat("short"), headers=k.as_("a"))
        said = [*chat("short")["messages"], {"role": "assistant", "content": "x"}, {"role": "user", "content": "on"}]  # type: ignore[misc]
        after = await post(CHAT, json={"model": "m", "messages": said}, headers=k.as_("a"))
        assert after.headers["x-agentserve-program"] == again.headers["x-agentserve-program"]


async def test_tokens_count_as_the_engine_counted_them_and_budgets_outlast_a_restart(tmp_path: Path) -> None:
    state, tenants = str(tmp_path / "state.json"), [{"name": "a", "budget": {"tokens": 14}}]
    async with keyed(tmp_path, state=state, tenants=tenants) as k:
        assert (await k.chat("a")).status_code == 200
        await until_idle(k.world.brain)
    async with keyed(tmp_path, state=state, tenants=tenants) as k:
        refused = await k.chat("a")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
        assert (await k.chat("b")).status_code == 200


async def test_a_stream_that_is_left_counts_for_what_it_used(tmp_path: Path) -> None:
    async with keyed(tmp_path, tenants=[{"name": "a", "tokens_per_minute": 60}]) as k:
        k.world.engine.script.append(asyncio.Event())
        task = asyncio.create_task(k.chat("a", "word " * 400, stream=True))
        await within(k.world.engine.opened)
        task.cancel()
        await until_idle(k.world.brain)
        assert (await k.chat("a")).status_code == 429


async def test_a_tenants_waiting_line_is_bounded_and_no_others_is(tmp_path: Path) -> None:
    big, go = "word " * 3000, asyncio.Event()
    async with keyed(tmp_path, policy="agentserve", tenants=[{"name": "a", "queue": 1}]) as k:
        post, engine = k.world.client.post, k.world.engine
        engine.script.append(go)
        tasks = [asyncio.create_task(post(CHAT, json=chat(big), headers=k.as_("a") | RUN))]
        await within(engine.opened)
        for waiting, who in ((1, "a"), (2, "b")):
            tasks.append(asyncio.create_task(post(CHAT, json=chat(big + who), headers=k.as_(who))))
            await eventually(lambda waiting=waiting: k.world.brain.waiting == waiting, "a call's waiting")  # type: ignore[misc]
        refused = await post(CHAT, json=chat(big + "2"), headers=k.as_("a"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert "retry-after" in refused.headers
        go.set()
        await asyncio.gather(*tasks)


async def test_workflows_without_end_are_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentserve.gateway.tenants.names.MOST", 5)
    async with keyed(tmp_path) as k:
        for number in range(9):
            said = {"x-agentserve-workflow": f"run-{number}", "x-agentserve-program": str(number)}
            assert (await k.world.client.post(CHAT, json=chat(), headers=k.as_("a") | said)).status_code == 200
        assert {program.workflow for program in k.world.brain.programs.values()} == {"", "run-0", "run-1", "run-2"}


async def test_weights_and_tiers_reach_the_brain_and_turns_are_taken_by_them(tmp_path: Path) -> None:
    told: list[Event] = []

    class Listening(Brain):
        def handle(self, event: Event) -> Decision:
            told.append(event)
            return super().handle(event)

    tenants = [{"name": "a", "weight": 2.5, "tier": 1}]
    async with keyed(tmp_path, kind=Listening, policy="agentserve", tenants=tenants) as k:
        (changed,) = (event for event in told if isinstance(event, TenantChanged))
        assert (changed.tenant, changed.weight, changed.tier) == ("a", 2.5, 1)
        assert k.world.brain.policy.fairness.name == "virtual_token_counter"
        await k.chat("a")
        (arrived,) = (event for event in told if isinstance(event, CallArrived))
        assert arrived.program == ProgramKey(TenantId("a"), "run")


async def test_keys_that_are_revoked_or_made_take_effect_while_the_gateway_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "LOOK_AGAIN", 0.01)
    async with keyed(tmp_path) as k:
        with changing(k.path) as ring:
            found = ring.find(k.keys["a"])
            assert found is not None
            ring.revoke(found.id)
        os.utime(k.path, (1, 1))
        ring_of = k.world.app.door
        await eventually(lambda: ring_of.ring is not None and found.id not in ring_of.ring.keys, "the keys' reload")
        assert (await k.chat("a")).status_code == 401
        k.path.write_text("nonsense")
        os.utime(k.path, (2, 2))
        await asyncio.sleep(0.05)
        assert (await k.chat("b")).status_code == 200, "what cannot be read changes nothing"


async def test_without_keys_everybody_is_the_operator_of_the_default_tenant() -> None:
    async with world() as w:
        await w.client.post(CHAT, json=chat(), headers={"authorization": "Bearer engines-own"} | RUN)
        assert w.engine.sent[0].headers["authorization"] == "Bearer engines-own"
        assert "cache_salt" not in w.engine.sent[0].json
        assert (await w.client.get("/metrics")).status_code == 200
        assert (await w.client.get(f"{PROGRAMS}/run")).json()["tenant"] == "default"
