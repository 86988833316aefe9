"""A gateway with a virtual model, over two engines that write what they are told."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from agentserve.config import parse
from agentserve.engines.base import EngineError
from agentserve.gateway.assembly import gateway
from agentserve.gateway.driver import Driver
from agentserve.gateway.state import load_state
from scheduler.brain import Brain, Decision
from scheduler.events import CallArrived, Event
from tests.gateway.fakes import SPEC, FakeEngine, FakeReply, Sent, usage
from tests.gateway.world import CHAT, eventually, serve

ANSWERED = r"So it is \boxed{42}."


@dataclass(frozen=True)
class Said:
    """What a writer says once, being so `sure` of each token."""

    text: str
    finish: str = "stop"
    sure: float = -1.0
    after: asyncio.Event | None = None


class Writer(FakeEngine):
    """Writes one text; asked for one token, it is sure of `word`, if of any, and of each of its prompt's `tail`."""

    def __init__(
        self,
        name: str,
        text: str = ANSWERED,
        word: str | None = "yes",
        finish: str = "stop",
        tail: list[object] | None = None,
    ) -> None:
        super().__init__(name, replace(SPEC, models=(name,), tail_scoring=tail is not None))
        self.said = Said(text, finish)
        self.first: deque[Said] = deque()
        """What it says first, call by call."""
        self.word, self.tail = word, tail
        self.down = False
        self.writes = True
        """Whether it also writes, and does not only judge."""
        self.refuses = False
        self.hold: asyncio.Event | None = None

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> FakeReply:
        sent = Sent(path, headers, body)
        self.sent.append(sent)
        judges = sent.json["max_tokens"] == 1
        said = self.first.popleft() if self.first and not judges else self.said
        for hold in (self.hold, said.after):
            if hold is not None:
                await self._wait(hold)
        if self.down or not (self.writes or judges):
            raise EngineError("connection refused")
        if self.refuses:
            return FakeReply([b'{"error": {"message": "too long"}}'], status=400)
        answer = self.judged() if judges else self.wrote(said)
        return FakeReply([json.dumps(answer).encode()], headers={"content-type": "application/json"})

    def judged(self) -> dict[str, object]:
        told = [{"token": "x", "logprob": -1.0, "top_logprobs": [{"token": self.word, "logprob": -0.1}]}]
        tail = {"prompt_logprobs": [None, *self.tail]} if self.tail is not None else {}
        return {**_answer("yes", "length", told if self.word else None, 1), **tail}

    def wrote(self, said: Said) -> dict[str, object]:
        return _answer(said.text, said.finish, [{"token": "x", "logprob": said.sure}], 5)


def _answer(text: object, finish: str, told: object, output: int) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    choice = {"message": message, "finish_reason": finish, "logprobs": {"content": told} if told else None}
    return {"choices": [choice], "usage": usage(10, output)}


@dataclass
class Virtual:
    client: httpx.AsyncClient
    brain: Brain
    driver: Driver
    draft: Writer
    target: Writer

    async def ask(self, **fields: object) -> httpx.Response:
        body = {"model": "reasoner", "messages": [{"role": "user", "content": "6 * 7?"}], **fields}
        return await self.client.post(CHAT, json=body)

    async def until_clean(self) -> None:
        await eventually(lambda: not self.brain.calls, "the end of all calls")
        self.brain.check_integrity()
        assert all(not engine.running for engine in self.brain.engines.values())

    def arrivals(self) -> list[CallArrived]:
        """The calls that the brain hears of from now on."""
        heard: list[CallArrived] = []

        def note(event: Event, decision: Decision) -> None:
            if isinstance(event, CallArrived):
                heard.append(event)

        self.driver.watch(note)
        return heard


def reasoner(**fields: object) -> dict[str, object]:
    return {"model": "reasoner", "kind": "atts", "draft": "small", "target": "large", "samples": 3, **fields}


@asynccontextmanager
async def virtual(
    draft: Writer | None = None,
    target: Writer | None = None,
    *,
    state: Path | None = None,
    limits: Mapping[str, float] | None = None,
    **fields: object,
) -> AsyncIterator[Virtual]:
    engines = [draft or Writer("small"), target or Writer("large")]
    pools = [{"model": each.name, "engines": [{"name": each.name, "url": "http://fake"}]} for each in engines]
    more = {"state": str(state)} if state is not None else {}
    section = reasoner(**fields)
    if section["kind"] != "atts":
        del section["target"]
    config = parse({"pools": pools, "virtual": [section], "limits": limits or {}, **more})
    brain = Brain(config.policy, learned=load_state(config.state) if config.state else None)
    async with (
        gateway(config, brain, engines) as app,
        serve(app) as url,
        httpx.AsyncClient(base_url=url, timeout=60) as client,
    ):
        await eventually(lambda: len(app.driver.engines) == 2, "the start of all engines")
        if "target" in section and engines[1].tail is None:
            await eventually(lambda: bool(engines[1].sent), "the question how the target scores")
        engines[1].sent.clear()
        yield Virtual(client, brain, app.driver, *engines)
