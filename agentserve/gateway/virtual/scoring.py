"""Which way the engines of a target offer to score a segment, found out when each comes up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from enum import StrEnum

from agentserve.engines.base import Engine, EngineError, Pulse
from agentserve.engines.patience import patience
from agentserve.engines.supervise import Watcher
from agentserve.gateway.answer import BadAnswerError
from agentserve.gateway.exchange import ask
from agentserve.gateway.protocols.openai_chat import Chat
from agentserve.gateway.virtual.wording import judgement, judgement_body, read_segment
from scheduler.types import EngineId, EngineSpec, Seconds

PATIENCE: Seconds = 60.0
"""How long an engine may take over the one-token question that it is asked."""

logger = logging.getLogger(__name__)


class Way(StrEnum):
    """How a segment is scored."""

    TAIL = "tail"
    """By the mean log-probability of its tokens under the target, with the prefix cache on: needs our plugin."""
    JUDGEMENT = "judgement"
    """By what the target answers when it is asked: any server that reports log-probabilities."""
    NONE = "none"


class Scoring:
    """Watches engines (`supervise.Watcher`) on behalf of `watcher`, and asks those of the `targets`, by model."""

    def __init__(self, watcher: Watcher, targets: Mapping[str, Sequence[EngineId]]) -> None:
        self._watcher = watcher
        self._targets = targets
        self._ways: dict[EngineId, Way] = {}
        """Of the engines that are up and have been asked."""
        self._asking: dict[EngineId, asyncio.Task[None]] = {}

    def way(self, model: str) -> Way:
        """How to score under a model: the same way on all its engines, for scores of two ways cannot be compared.

        While nothing is known it is the portable way, and so it is where no way is known to work: then each attempt
        says what is wrong.
        """
        ways = {self._ways[name] for name in self._targets[model] if name in self._ways}
        return Way.TAIL if ways == {Way.TAIL} else Way.JUDGEMENT

    def engine_up(self, engine: Engine, spec: EngineSpec) -> None:
        """An engine is healthy; one of a target is asked what it offers."""
        self._watcher.engine_up(engine, spec)
        model = next((model for model, names in self._targets.items() if engine.name in names), None)
        if model is None:
            return
        if spec.tail_scoring:
            self._found(engine.name, Way.TAIL, "their tails, with the prefix cache on")
        else:
            self._asking[engine.name] = asyncio.create_task(self._ask(engine, model))

    def engine_down(self, engine: Engine, reason: str) -> None:
        """An engine is gone, and what it offered with it."""
        self._forget(engine.name)
        self._watcher.engine_down(engine, reason)

    def engine_observed(self, engine: Engine, as_of: Seconds, pulse: Pulse) -> None:
        """A scrape, which says nothing of scores."""
        self._watcher.engine_observed(engine, as_of, pulse)

    def close(self) -> None:
        """Asks no more."""
        for name in list(self._asking):
            self._forget(name)

    def _forget(self, engine: EngineId) -> None:
        self._ways.pop(engine, None)
        task = self._asking.pop(engine, None)
        if task is not None:
            task.cancel()

    async def _ask(self, engine: Engine, model: str) -> None:
        try:
            async with patience(PATIENCE):
                reply, data = await ask(engine, Chat.path, _question(model))
            offers = reply.status == 200 and judgement(read_segment(data)) is not None
            problem = "" if offers else f"it answers with status {reply.status} and no log-probabilities"
        except (EngineError, BadAnswerError, TimeoutError, ValueError) as error:
            problem = str(error) or "it does not answer"
        if problem:
            self._found(engine.name, Way.NONE, f"nothing: {problem}")
        else:
            self._found(engine.name, Way.JUDGEMENT, "a one-token judgement with log-probabilities (no plugin there)")

    def _found(self, engine: EngineId, way: Way, by: str) -> None:
        self._ways[engine] = way
        level = logging.WARNING if way is Way.NONE else logging.INFO
        logger.log(level, "engine %s scores segments by %s", engine, by)


def _question(model: str) -> bytes:
    sum_of_two = [{"role": "user", "content": "What is 1 + 1?"}, {"role": "assistant", "content": "1 + 1 = 2."}]
    return judgement_body(model, sum_of_two)
