"""Has an engine compute a program's latest prompt before the program returns, so that it finds its KV there."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from agentserve.engines.base import EngineError
from agentserve.gateway.answer import BadAnswerError
from agentserve.gateway.driver import Driver
from agentserve.gateway.exchange import ask
from agentserve.gateway.request import parse_body
from agentserve.gateway.splice import Edit, NewValue
from scheduler.actions import Prewarm
from scheduler.events import Prewarmed
from scheduler.types import EngineSpec, ProgramKey

ROOM = 64 * 1024 * 1024
"""Bytes of prompts that are kept; the oldest go first."""
LAST = 2_000_000_000
"""A priority behind that of all calls."""
UNWANTED = frozenset({"stream_options", "max_completion_tokens", "min_tokens", "stop", "logprobs", "top_logprobs"})
"""What a request that wants no answer leaves out."""


logger = logging.getLogger(__name__)


class Sent(NamedTuple):
    """What a program has sent to an engine last."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Prewarmer:
    """Keeps each program's latest request, and sends it again with one token to answer."""

    def __init__(self, driver: Driver, room: int = ROOM) -> None:
        self._driver = driver
        self._room = room
        self._latest: OrderedDict[ProgramKey, Sent] = OrderedDict()
        self._size = 0
        self._tasks: set[asyncio.Task[None]] = set()
        driver.prewarm, driver.latest = self.begin, self.keep

    def keep(self, program: ProgramKey, path: str, headers: Mapping[str, str], body: bytes) -> None:
        """The program has sent that to an engine."""
        self._forget(program)
        if len(body) > self._room:
            return
        self._latest[program] = Sent(path, headers, body)
        self._size += len(body)
        while self._size > self._room:
            self._forget(next(iter(self._latest)))

    def _forget(self, program: ProgramKey) -> None:
        sent = self._latest.pop(program, None)
        if sent is not None:
            self._size -= len(sent.body)

    def begin(self, action: Prewarm) -> None:
        """Does it in the background, and tells the brain how it went."""
        sent = self._latest.get(action.program)
        if sent is None and self._driver.standing:
            return  # another gateway may have served the program
        task = asyncio.get_running_loop().create_task(self._prewarm(action, sent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prewarm(self, action: Prewarm, sent: Sent | None) -> None:
        engine = self._driver.engines.get(action.engine)
        done = False
        if sent is not None and engine is not None:
            body = prewarming_body(sent, action, self._driver.specs[action.engine])
            try:
                reply, _ = await ask(engine, sent.path, body, sent.headers)
                done = reply.status == 200
            except (EngineError, BadAnswerError) as error:
                logger.info("program %s does not move to %s: %s", action.program, action.engine, error)
        self._driver.handle(Prewarmed(self._driver.now(), action.program, action.engine, done))

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def prewarming_body(sent: Sent, action: Prewarm, spec: EngineSpec) -> bytes:
    """The request again, for another engine: one token, in one piece, behind all calls."""
    limit = "max_output_tokens" if sent.path.endswith("/responses") else "max_tokens"
    put: dict[str, NewValue] = {"stream": False, limit: 1}
    drop = set(UNWANTED)
    if not sent.path.endswith("/messages"):
        put["n"] = 1
    if spec.priority:
        put["priority"] = LAST
    else:
        drop.add("priority")
    if spec.retention:
        put["vllm_xargs"] = {
            "agentserve_program": str(action.program),
            "agentserve_rank": action.rank,
            "agentserve_ttl": 0.0,
        }
    else:
        drop.add("vllm_xargs")
    return parse_body(sent.body).edited(Edit(put, drop=frozenset(drop)))
