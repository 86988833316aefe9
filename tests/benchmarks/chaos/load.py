"""Programs that make streamed calls through gateways chosen at random, and remember what came of each."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx

from scheduler.types import Tokens
from tests.benchmarks.chaos.tally import Tally
from tests.cell.cluster import Cluster, GatewayProcess

CHAT = "/v1/chat/completions"
MODEL = "m"
TURNS = 4
OUTPUT = 40
"""Tokens of an answer: some two seconds of an emulated engine."""
AGAIN_S = 0.05


@dataclass
class Attempt:
    """One request of a call. Times by the monotonic clock."""

    number: int
    """Its `seed`, by which engines' diaries know it."""
    program: str
    gateway: GatewayProcess
    began: float
    first: float | None = None
    """When the first piece of the answer came."""
    ended: float | None = None
    answered: bool = False
    """Whether the answer came whole."""
    error: str = ""
    """What the stream said where it ended with an error."""
    why: str = ""
    engine: str = ""
    tokens: Tokens = 0
    """Of prompt and answer, as the engine counted them."""


class Load:
    """Programs until told to stop."""

    def __init__(self, found: Cluster, tally: Tally, gap: float) -> None:
        self._found = found
        self._tally = tally
        self._gap = gap
        self._rng = random.Random(tally.seed)
        self.stopping = False
        self.attempts: list[Attempt] = []
        self.answered: Counter[str] = Counter()
        """Calls of each living program that were answered."""
        self._client = httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None))

    async def run(self, programs: int) -> None:
        """So many programs at a time, one after another."""
        await asyncio.gather(*(self._agent(slot) for slot in range(programs)))
        await self._client.aclose()

    def streaming(self, gateway: GatewayProcess | None = None) -> list[Attempt]:
        """Those whose answers are coming now, through that gateway or through any."""
        return [
            attempt
            for attempt in self.attempts
            if attempt.first is not None and attempt.ended is None and gateway in (None, attempt.gateway)
        ]

    async def probe(self, gateway: GatewayProcess, name: str) -> Attempt:
        """A call of a program that has but one, and one token."""
        messages = [{"role": "user", "content": "ping"}]
        return await self._attempt(gateway, name, messages, final=True, output=1)

    async def _agent(self, slot: int) -> None:
        await asyncio.sleep(self._rng.uniform(0, self._gap))
        number = 0
        while not self.stopping:
            number += 1
            name = f"program-{slot}-{number}"
            messages = [{"role": "user", "content": f"{name} " * 40}]
            for turn in range(TURNS):
                final = turn == TURNS - 1 or self.stopping
                text = await self._call(name, messages, final=final)
                self.answered[name] += 1
                messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "go on " * 20}]
                if final:
                    break
                await asyncio.sleep(self._rng.expovariate(1 / self._gap))
            del self.answered[name]
            self._tally.programs += 1

    async def _call(self, name: str, messages: list[dict[str, str]], *, final: bool) -> str:
        """The answer's text, from whichever gateway lives to give it whole."""
        while True:
            gateway = self._rng.choice([gateway for gateway in self._found.gateways if gateway.alive])
            try:
                attempt = await self._attempt(gateway, name, messages, final=final)
            except httpx.ConnectError:  # it is being started again: nothing had begun
                await asyncio.sleep(AGAIN_S)
                continue
            if attempt.answered:
                self._tally.calls += 1
                self._tally.why[attempt.why] += 1
                return f"answer {attempt.number}"
            self._tally.repeated += 1
            await asyncio.sleep(AGAIN_S)

    async def _attempt(
        self, gateway: GatewayProcess, name: str, messages: list[dict[str, str]], *, final: bool, output: int = OUTPUT
    ) -> Attempt:
        attempt = Attempt(len(self.attempts) + 1, name, gateway, time.monotonic())
        self.attempts.append(attempt)
        try:
            await self._stream(attempt, messages, final=final, output=output)
        except httpx.ConnectError:
            self.attempts[attempt.number - 1].why = "not taken"
            raise
        except httpx.TransportError as error:
            if not any(death >= attempt.began for death in gateway.deaths):
                self._tally.wrong.append(f"{name}: {gateway.name} was alive and broke off: {error!r}")
        finally:
            attempt.ended = time.monotonic()
        return attempt

    async def _stream(self, attempt: Attempt, messages: list[dict[str, str]], *, final: bool, output: int) -> None:
        headers = {"x-agentserve-program": attempt.program, "x-agentserve-workflow": "chaos"}
        if final:
            headers["x-agentserve-final"] = "true"
        body = {
            "model": MODEL,
            "messages": messages,
            "max_tokens": output,
            "seed": attempt.number,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
        }
        ends = 0
        async with self._client.stream("POST", attempt.gateway.url + CHAT, json=body, headers=headers) as answer:
            if answer.status_code != 200:
                text = (await answer.aread()).decode()
                if "no_engine" in text:
                    raise httpx.ConnectError("it is not /ready yet: it was started again just now")
                attempt.error = f"status {answer.status_code}: {text[:200]}"
                return
            attempt.why = answer.headers.get("x-agentserve-why", "held")
            attempt.engine = answer.headers.get("x-agentserve-engine", "")
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    ends += 1
                elif line.startswith("data: "):
                    _note(attempt, json.loads(line.removeprefix("data: ")))
        attempt.answered = ends == 1 and not attempt.error and attempt.tokens > 0
        if not attempt.answered and not attempt.error:
            self._tally.wrong.append(f"{attempt.program}: {ends} ends of one stream, {attempt.tokens} tokens")


def _note(attempt: Attempt, chunk: dict[str, Any]) -> None:
    """Takes a piece of an answer."""
    if "error" in chunk:
        attempt.error = str(chunk["error"].get("message"))
    elif usage := chunk.get("usage"):
        attempt.tokens = usage["prompt_tokens"] + usage["completion_tokens"]
    elif attempt.first is None:
        attempt.first = time.monotonic()
