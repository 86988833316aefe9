"""What the gateway must know of a protocol: how its requests, answers, events and errors look.

Nothing is translated from one protocol to another: a request goes to the engine's own route of the same path.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import ClassVar

from agentserve.gateway.answer import Answer
from agentserve.gateway.errors import ApiError, wrong
from agentserve.gateway.prompt import Prompt
from agentserve.gateway.splice import Body
from agentserve.gateway.stream import StreamReader
from scheduler.types import Tokens


class WireProtocol(ABC):
    """One protocol. The errors are OpenAI's unless it says otherwise."""

    path: ClassVar[str]
    keep_alive: ClassVar[bytes] = b": keep-alive\n\n"
    """The event of a stream that has nothing to say yet."""
    limits: ClassVar[tuple[str, ...]]
    """Fields that limit the output tokens; the least counts."""
    least_limit: ClassVar[Tokens] = 1
    stop: ClassVar[str]
    """The field with stop strings; empty if there is none."""
    usage_option: ClassVar[bool] = False
    """A stream tells its usage only if `stream_options` asks for it."""
    priority_header: ClassVar[str] = ""
    """The engine takes the request's priority from this header, not from the body."""
    versions: ClassVar[tuple[bytes, ...]] = ()
    """Headers of the protocol's own that go to the engine as they are."""

    @abstractmethod
    def prompt(self, body: Body, model: str) -> Prompt:
        """The prompt of a request. Raises `ApiError` if it is not of the protocol's shape.

        Prompts for another `model` have no mark in common with it.
        """

    @abstractmethod
    def reader(self, wants_usage: bool, reads_text: bool) -> StreamReader:
        """A reader for one stream; see `StreamReader` for `reads_text`."""

    @abstractmethod
    def answer(self, data: bytes) -> Answer:
        """Reads a whole answer. Raises `BadAnswerError` if it is none."""

    def check(self, body: Body) -> None:
        """Checks what only this protocol has.

        Raises:
            ApiError: something in it is wrong, or is not offered here.
        """
        return

    def max_output(self, body: Body) -> Tokens | None:
        """The most output tokens that are asked for. Raises `ApiError` if that is no number."""
        limits: list[int] = []
        for name in self.limits:
            value = body.fields.get(name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < self.least_limit:
                raise wrong(name, "a positive integer")
            limits.append(value)
        return min(limits, default=None)

    def error(self, error: ApiError) -> bytes:
        """The body of an error answer."""
        return error.body()

    def refusal(self, status: int, body: bytes, path: str) -> bytes:
        """An engine's refusal of a request to a path, in the protocol's shape: as it is, unless it is in none."""
        if message_of(body) is not None:
            return body
        return self.error(_refused(status, path, body))

    def error_events(self, body: bytes) -> bytes:
        """The end of a stream that fails after it began, from the body of an error answer."""
        return b"data: %b\n\ndata: [DONE]\n\n" % one_line(body)


def one_line(body: bytes) -> bytes:
    """JSON as the data of one event."""
    return b" ".join(body.splitlines())


def message_of(body: bytes) -> str | None:
    """What an error answer in OpenAI's or Anthropic's shape says; None if it is in neither."""
    try:
        error = json.loads(body)["error"]
        message = error["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return message if isinstance(message, str) else None


def _refused(status: int, path: str, body: bytes) -> ApiError:
    if status in (404, 405):
        message = f"the engine of this model does not offer {path}"
        return ApiError(404, message, code="endpoint_not_offered")
    return ApiError(status, f"the engine refused: {body[:200].decode(errors='replace')}")
