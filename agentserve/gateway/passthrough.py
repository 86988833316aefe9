"""Requests that an engine answers without generating: embeddings, scores, token counts. They need no place in line."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from starlette.types import Receive, Scope, Send

from agentserve.config import Limits
from agentserve.engines.base import Engine, EngineError
from agentserve.gateway.answer import BadAnswerError
from agentserve.gateway.attempt import JSON_TYPE, WholeAnswer
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import (
    ApiError,
    ClientGoneError,
    no_engine,
    too_late,
    too_many_retries,
    unknown_model,
)
from agentserve.gateway.exchange import ask
from agentserve.gateway.ids import Headers
from agentserve.gateway.inference import read_post
from agentserve.gateway.interrupt import CallInterruptedError, Cause, Interruptible
from agentserve.gateway.outbox import Outbox
from agentserve.gateway.protocols import protocol_of
from agentserve.gateway.protocols.anthropic_messages import Messages
from agentserve.gateway.request import model_of, parse_body
from agentserve.gateway.splice import Body, Edit
from agentserve.gateway.tenants.tenant import Passage
from agentserve.gateway.upstream import forwarded, salted
from scheduler.events import FailureReason
from scheduler.types import EngineId

PASSED = frozenset(
    {
        "/v1/embeddings",
        "/v1/rerank",
        "/v2/rerank",
        "/rerank",
        "/v1/score",
        "/score",
        "/tokenize",
        "/detokenize",
        "/v1/messages/count_tokens",
    }
)
"""The routes that are passed through."""

SALTED = PASSED - {"/tokenize", "/detokenize", "/v1/messages/count_tokens"}
"""Those that compute with a cache."""


class Passthrough:
    """Sends each request to the engine of its model that has the fewest of them, and to the next if that one fails."""

    def __init__(self, driver: Driver, pools: Mapping[str, Sequence[EngineId]], limits: Limits) -> None:
        self._driver = driver
        self._pools = pools
        self._limits = limits
        self._running: Counter[EngineId] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send, passage: Passage) -> None:
        """Handles one request.

        Raises:
            ApiError: it is refused, or took too long; nothing has been sent.
        """
        try:
            headers, data = await read_post(scope, receive, self._limits.body_bytes)
        except ClientGoneError:
            return
        self._driver.retries.call()
        part = Interruptible()
        outbox = Outbox(send, self._limits.buffer_bytes, self._limits.stall, part.end)
        clock = asyncio.get_running_loop().call_later(self._limits.total, part.end, Cause.LATE)
        watcher = asyncio.create_task(_watch(receive, part))
        try:
            async with part:
                answer = await self._first_answer(scope["path"], headers, parse_body(data), passage)
                outbox.put_whole(answer.status, answer.headers, answer.body)
                await outbox.end()
        except CallInterruptedError as interruption:
            if interruption.cause is Cause.LATE and not outbox.open:
                raise too_late(self._limits.total) from None
        finally:
            clock.cancel()
            watcher.cancel()
            outbox.close()

    async def _first_answer(self, path: str, headers: Headers, body: Body, passage: Passage) -> WholeAnswer:
        """Raises `ApiError` if no engine of the model answers."""
        content = body.edited(Edit(salted(body, passage) if path in SALTED else {}, drop=passage.dropped))
        sent = forwarded(headers, passage, Messages.versions if path.startswith(Messages.path) else ())
        retries, failure = self._driver.retries, ""
        for failures, engine in enumerate(self._engines(self._model(body))):
            if failures:
                if not retries.take(self._driver.now()):
                    raise too_many_retries(failure)
                await asyncio.sleep(retries.pause(failures))
            try:
                answer = await self._exchange(engine, path, sent, content)
            except (EngineError, BadAnswerError) as error:
                failure = str(error)
                self._driver.tell_breaker(engine.name, FailureReason.ENGINE_ERROR)
            else:
                self._driver.tell_breaker(engine.name, None)
                return answer
        raise ApiError(502, f"no engine of the model answered ({failure})", code="engines_failed")

    def _model(self, body: Body) -> str:
        """The model that is asked for; where there is but one it need not be named."""
        if "model" not in body.fields and len(self._pools) == 1:
            return next(iter(self._pools))
        model = model_of(body)
        if model not in self._pools:
            raise unknown_model(model, list(self._pools))
        return model

    def _engines(self, model: str) -> list[Engine]:
        up = self._driver.answering(self._pools[model])
        if not up:
            raise no_engine(model)
        return sorted(up, key=lambda engine: self._running[engine.name])

    async def _exchange(self, engine: Engine, path: str, headers: dict[str, str], content: bytes) -> WholeAnswer:
        self._running[engine.name] += 1
        try:
            reply, body = await ask(engine, path, content, headers, self._limits.answer_bytes)
        finally:
            self._running[engine.name] -= 1
        if reply.status != 200 and not 400 <= reply.status < 500:
            said = body[:200].decode(errors="replace")
            raise EngineError(f"engine {engine.name}: it answered with status {reply.status}: {said}")
        if reply.status != 200:
            return WholeAnswer(reply.status, JSON_TYPE, protocol_of(path).refusal(reply.status, body, path))
        return WholeAnswer(reply.status, reply.headers.get("content-type", JSON_TYPE), body)


async def _watch(receive: Receive, part: Interruptible) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    part.end(Cause.GONE)
