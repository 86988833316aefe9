"""One sample: calls of tokens in, tokens out, each going on where the one before was cut, until it is whole or ended."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import Message

from agentserve.config import Limits
from agentserve.gateway.call import Call
from agentserve.gateway.chain import Chain
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import ApiError
from agentserve.gateway.identity import Identity
from agentserve.gateway.interrupt import Cause
from agentserve.gateway.protocols.base import message_of
from agentserve.gateway.protocols.openai_chat import Completions
from agentserve.gateway.request import parse_request
from agentserve.gateway.rollouts.chunks import TokenReader
from agentserve.gateway.tenants.tenant import Passage
from scheduler.rollouts.versions import Segment, Versions, joined, oldest
from scheduler.types import EngineId, Tokens

ATTEMPTS = 3
"""How often a sample goes on after an engine broke off, before it ends as it is."""


@dataclass(frozen=True, slots=True)
class Order:
    """What every sample of a group is made from: the prompt's tokens, and the sampling parameters as vLLM names them."""

    model: str
    prompt: tuple[int, ...]
    most: Tokens
    sampling: dict[str, object]


class Sample:
    """A sample while it is written, and after."""

    def __init__(
        self, driver: Driver, limits: Limits, passage: Passage, versions: Versions, identity: Identity, group: str
    ) -> None:
        self.group = group
        self.identity = identity
        self.ids: list[int] = []
        self.logprobs: list[float | None] = []
        self.text = ""
        self.segments: tuple[Segment, ...] = ()
        self.finish = ""
        """`stop`, `length`, `abort`, `stale` or `error`; empty while it is written."""
        self.error: ApiError | None = None
        """Why it is `error`."""
        self.began = versions.latest
        self._driver = driver
        self._limits = limits
        self._passage = passage
        self._versions = versions
        self._call: Call | None = None
        self._engine: EngineId | None = None
        self._version = 0

    @property
    def engine(self) -> EngineId | None:
        """Where it is being written now."""
        return self._call.engine if self._call is not None else None

    @property
    def oldest(self) -> int:
        """The oldest version that wrote a token of it; the latest at its begin while there is none."""
        return oldest(self.segments, self._version if self._engine is not None else self.began)

    def cut(self) -> None:
        """Interrupts it; it goes on from where it is as soon as an engine takes it."""
        if self._call is not None:
            self._call.end(Cause.CUT)

    def end(self, finish: str) -> None:
        """Ends it with what it has, if it has not ended."""
        if not self.finish:
            self.finish = finish
            self.cut()

    def _ended(self) -> bool:
        """Somebody has ended it meanwhile."""
        return bool(self.finish)

    async def run(self, order: Order) -> None:
        """Writes it. Cancelling it aborts the call that runs."""
        broken = 0
        while not self.finish:
            reader, status, answer = await self._attempt(order)
            self._take(reader)
            if self._ended():
                return
            if reader.finish:
                self.finish = reader.finish
            elif len(self.ids) >= order.most:
                self.finish = "length"
            elif status not in (0, HTTPStatus.OK):
                self.finish, self.error = "error", _refused(status, answer)
            elif reader.error:
                broken += 1
                if broken == ATTEMPTS:
                    self.finish, self.error = "error", ApiError(502, reader.error, code="engine_lost")

    async def _attempt(self, order: Order) -> tuple[TokenReader, int, bytes]:
        """One call: what came of it, with its status (0 if it was cut before there was one) and its body if that is an error."""
        reader, status, refusal = TokenReader(), 0, b""

        async def keep(message: Message) -> None:
            nonlocal status, refusal
            if message["type"] == "http.response.start":
                status = message["status"]
                return
            if status != HTTPStatus.OK:
                refusal += message.get("body", b"")
                return
            reader.feed(message.get("body", b""))
            self._note_engine(call)

        request = parse_request(Completions.path, self._body(order), self._passage.salt)
        self._engine = None
        call = Call(self._driver, self._limits, self._passage, request, self.identity, {}, Chain(), keep)
        self._call = call
        try:
            await call.run(_stay)
        finally:
            self._call = None
        return reader, status, refusal

    def _note_engine(self, call: Call) -> None:
        """Whose tokens these are: an engine's weights change only when no call runs on it."""
        if call.engine is not None:
            self._engine, self._version = call.engine, self._versions.of(call.engine)

    def _take(self, reader: TokenReader) -> None:
        self.ids += reader.ids
        self.logprobs += reader.logprobs
        self.text += "".join(reader.text)
        if self._engine is not None:
            self.segments = joined(self.segments, self._version, self._engine, len(reader.ids))

    def _body(self, order: Order) -> bytes:
        return json.dumps(
            {
                **order.sampling,
                "model": order.model,
                "prompt": [*order.prompt, *self.ids],
                "max_tokens": order.most - len(self.ids),
                "stream": True,
                "return_token_ids": True,
                "logprobs": 0,
            }
        ).encode()


def _refused(status: int, answer: bytes) -> ApiError:
    return ApiError(status, message_of(answer) or answer[:200].decode(errors="replace"))


async def _stay() -> Message:
    """A client that never leaves: whoever runs the sample ends it."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets this event")
