"""The plugin in a real vLLM, over HTTP, as the gateway uses it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any, TypedDict

import httpx
import pytest

from agentserve.gateway.virtual.wording import read_segment, tail_body, tail_score
from agentserve.vllm_plugin.epochs import HEADER
from tests.engine_fixture import BLOCK_SIZE, KV_BLOCKS, RealEngine

pytestmark = pytest.mark.engine

WORDS = [
    "the",
    "cat",
    "reads",
    "a",
    "file",
    "and",
    "writes",
    "code",
    "while",
    "tests",
    "run",
    "on",
    "two",
    "slow",
    "cores",
]


class Numbers(TypedDict):
    cursor: int
    reports: list[dict[str, str | int]]
    protected_tokens: int
    protected_blocks: int
    free_blocks: int
    total_blocks: int
    block_size: int
    counters: dict[str, int]


class Agent:
    """Talks to the engine as the gateway does."""

    def __init__(self, http: httpx.AsyncClient, model: str) -> None:
        self.http = http
        self.model = model

    async def call(self, program: str, prompt: str, rank: int = 0, ttl: object = 0, max_tokens: int = 4) -> int:
        """One completion; returns how many of its tokens were cached."""
        body = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "priority": rank,
            "vllm_xargs": {"agentserve_program": program, "agentserve_rank": rank, "agentserve_ttl": ttl},
        }
        answer = await self.http.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        cached: int = (answer.json()["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return cached

    async def score(self, body: dict[str, Any], segment: str) -> tuple[float, int]:
        """The score of a chat's end, and how many of its tokens were cached."""
        answer = await self.http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        details = answer.json()["usage"].get("prompt_tokens_details") or {}
        score = tail_score(read_segment(answer.content), segment)
        assert score is not None, answer.text
        return score, details.get("cached_tokens") or 0

    async def pins(self, *orders: tuple[str, float], since: int = 0) -> Numbers:
        body = {"pins": [{"program": program, "ttl": ttl} for program, ttl in orders], "since": since}
        answer = await self.http.post("/agentserve/v1/pins", json=body)
        assert answer.status_code == 200, answer.text
        numbers: Numbers = answer.json()
        return numbers


@pytest.fixture
async def agent(vllm_engine: RealEngine) -> AsyncIterator[Agent]:
    limits = httpx.Limits(max_connections=None)
    leads = {HEADER: str(int(time.time()))}  # gateways of earlier tests have given this engine orders
    async with httpx.AsyncClient(base_url=vllm_engine.url, timeout=300, limits=limits, headers=leads) as http:
        yield Agent(http, vllm_engine.model)


def text(seed: int, tokens: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=tokens))


def outcomes(numbers: Numbers, program: str) -> list[str | int]:
    return [report["outcome"] for report in numbers["reports"] if report["program"] == program]


async def squeeze(agent: Agent) -> None:
    """Others use the whole cache."""
    for seed in range(3):
        await agent.call(f"squeeze {seed}", text(1000 + seed + time.monotonic_ns(), 3000), rank=99, max_tokens=1)


async def test_a_context_is_kept_through_a_gap_in_which_others_use_the_whole_cache(agent: Agent) -> None:
    start = (await agent.pins(since=0))["cursor"]
    prompt = text(1, 600)
    await agent.call("t/kept", prompt, ttl=3600)  # a slow machine takes its time for the squeeze
    await agent.call("t/plain", text(2, 600))
    await squeeze(agent)
    assert await agent.call("t/kept", prompt + text(3, 20)) >= 512
    assert await agent.call("t/plain", text(2, 600)) == 0
    assert outcomes(await agent.pins(since=start), "t/kept") == ["applied", "hit"]


async def test_the_route_extends_and_releases(agent: Agent) -> None:
    await agent.call("t/route", text(4, 300), ttl=0)
    numbers = await agent.pins(("t/route", 30), since=0)
    assert outcomes(numbers, "t/route") == ["applied"]
    assert numbers["protected_tokens"] == numbers["protected_blocks"] * BLOCK_SIZE >= 256
    assert numbers["free_blocks"] == numbers["total_blocks"] == KV_BLOCKS - 1, "protected blocks count as free"
    assert (await agent.pins(("t/route", 0)))["protected_blocks"] == 0
    lost = await agent.pins(("t/nobody", 5), since=numbers["cursor"])
    assert outcomes(lost, "t/nobody") == ["lost"]


async def test_bad_orders_are_refused_and_bad_tickets_counted(agent: Agent) -> None:
    ignored = (await agent.pins())["counters"]["ignored"]
    for body in (b"", b"{", b"[]", b'{"pins": [{"program": 1, "ttl": 1}]}', b'{"pins": [], "since": "x"}'):
        answer = await agent.http.post("/agentserve/v1/pins", content=body)
        assert answer.status_code == 400, body
        assert set(answer.json()) == {"error"}
    for ttl in ("soon", -1, 1e300, 2**63):
        await agent.call("t/bad", text(5, 40), ttl=ttl)
    assert (await agent.pins())["counters"]["ignored"] == ignored + 4


async def test_an_engine_on_a_cpu_outlives_seeds_of_prompts_that_take_several_steps(agent: Agent) -> None:
    """Without the plugin this ends it: its generators cannot be set back."""

    async def ask(seed: int) -> httpx.Response:
        prompt = text(2000 + seed, 2500)
        body = {"model": agent.model, "prompt": prompt, "max_tokens": 2, "temperature": 1, "seed": seed}
        return await agent.http.post("/v1/completions", json=body)

    for answer in await asyncio.gather(ask(1), ask(2)):
        assert answer.status_code == 200, answer.text


async def test_the_engine_describes_the_plugin_and_its_numbers(agent: Agent) -> None:
    plugin = (await agent.http.get("/agentserve/v1/plugin")).json()
    assert plugin["plugin"] == "agentserve"
    assert plugin["guard"] is True
    assert set(plugin) == {"plugin", "version", "vllm", "guard", "max_num_seqs", "tail_scoring"}
    assert plugin["max_num_seqs"] > 0
    page = (await agent.http.get("/agentserve/v1/metrics")).text
    assert f"agentserve_total_blocks {KV_BLOCKS - 1}.0" in page.splitlines()
    assert 'agentserve_pins_total{outcome="applied"}' in page


async def test_a_tail_is_scored_as_with_the_cache_off_but_from_the_cache(agent: Agent) -> None:
    head, segment = text(8, 700), "\n\nSo the cat reads what the tests have written, and the answer is 42."
    messages = [{"role": "user", "content": f"{head} What is the answer?"}]
    body = json.loads(tail_body(agent.model, messages, segment, tokens=24))
    cold = {name: value for name, value in body.items() if name != "vllm_xargs"}
    await agent.score(cold, segment)  # leaves the text in the cache
    (off, nothing), (on, cached) = await agent.score(cold, segment), await agent.score(body, segment)
    assert nothing == 0
    assert cached >= 640
    assert on == pytest.approx(off, abs=0.1), "bfloat16 rounds differently where less is computed"
    other = "\n\nSo zebra umbrella seventeen, purple the by of 42 answer."
    worse, _ = await agent.score(json.loads(tail_body(agent.model, messages, other, tokens=24)), other)
    assert worse < on - 0.5


async def test_three_hundred_requests_with_aborts_and_orders_lose_no_block(agent: Agent) -> None:
    rng = random.Random(7)
    contexts = {f"t/storm {number}": text(20 + number, rng.randint(300, 800)) for number in range(16)}
    gate = asyncio.Semaphore(24)

    async def one(number: int) -> None:
        program = rng.choice(list(contexts))
        contexts[program] += f" {number}"
        call = agent.call(
            program, contexts[program], int(program.split()[1]), rng.choice([0, 0.5, 30]), max_tokens=rng.randint(1, 24)
        )
        async with gate:
            if number % 10 == 0:
                await agent.pins((rng.choice(list(contexts)), rng.choice([0, 1, 10])))
            try:
                await asyncio.wait_for(call, rng.uniform(0.05, 1) if rng.random() < 0.15 else None)
            except TimeoutError:
                pass

    async with asyncio.TaskGroup() as group:
        for number in range(300):
            group.create_task(one(number))

    for _ in range(300):
        numbers = await agent.pins(*((program, 0) for program in contexts))
        if numbers["free_blocks"] == KV_BLOCKS - 1:
            break
        await asyncio.sleep(0.1)  # aborted requests are still on their way out
    assert numbers["free_blocks"] == KV_BLOCKS - 1
    assert numbers["protected_blocks"] == 0
    counters = numbers["counters"]
    assert min(counters["applied"], counters["hit"], counters["broken"]) > 0, counters
