"""A circuit breaker for each engine: one that answers nobody any more gets no calls until it does again.

Failures alone open nothing: a client whose requests no engine can bear would close the fleet to everybody. They make
the gateway ask the engine something itself; if that fails too, the breaker opens, and asking goes on ever more patiently.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from agentserve.engines.base import Engine, EngineError
from agentserve.engines.patience import patience
from agentserve.gateway.answer import BadAnswerError
from agentserve.gateway.exchange import ask
from scheduler.types import Seconds

PROBE = "/v1/completions"
PROBE_LIMIT: Seconds = 15.0
"""An engine that needs longer for one token, while we are on time ourselves, is not of use."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds from one question to the next while it is open; the waits double."""


class Breaker:
    """The breaker of one engine, from its start to its end."""

    def __init__(self, failures: int, answers: Callable[[], Awaitable[bool]], switch: Callable[[bool], None]) -> None:
        """`answers` asks the engine something; `switch` is told when the breaker opens (True) and closes (False)."""
        self._failures = failures
        self._answers = answers
        self._switch = switch
        self.open = False
        """It has found that the engine answers nobody."""
        self._row = 0
        self._task: asyncio.Task[None] | None = None

    def succeeded(self) -> None:
        """A call was answered."""
        self._row = 0

    def failed(self) -> None:
        """A call was not, and that is the engine's doing."""
        self._row += 1
        if self._row >= self._failures and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def end(self) -> None:
        """The engine is gone."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        if not await self._answers():
            self._turn(True)
            wait = FIRST_WAIT
            await asyncio.sleep(wait)
            while not await self._answers():
                wait = min(2 * wait, LONGEST_WAIT)
                await asyncio.sleep(wait)
            self._turn(False)
        self._row = 0
        self._task = None

    def _turn(self, opens: bool) -> None:
        self.open = opens
        self._switch(opens)


async def answers(engine: Engine, model: str, limit: Seconds = PROBE_LIMIT) -> bool:
    """Whether an engine generates one token, or refuses to in a proper way."""
    body = json.dumps({"model": model, "prompt": "hi", "max_tokens": 1}).encode()
    try:
        async with patience(limit):
            reply, _ = await ask(engine, PROBE, body)
    except (EngineError, BadAnswerError, TimeoutError):
        return False
    return reply.status < 500
