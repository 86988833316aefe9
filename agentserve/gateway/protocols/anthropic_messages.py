"""Anthropic's Messages API."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import ClassVar

from agentserve.gateway.answer import Answer, count, whole_answer
from agentserve.gateway.errors import ApiError
from agentserve.gateway.prompt import Prompt, chat_prompt
from agentserve.gateway.protocols.base import WireProtocol, message_of, one_line
from agentserve.gateway.splice import Body
from agentserve.gateway.stream import StreamReader
from scheduler.types import Tokens, Usage
from tools.calls import AnthropicCalls, anthropic_tools

_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUS: Mapping[str, int] = {kind: status for status, kind in _TYPES.items()}


class Messages(WireProtocol):
    """Messages."""

    path: ClassVar[str] = "/v1/messages"
    keep_alive: ClassVar[bytes] = b'event: ping\ndata: {"type": "ping"}\n\n'
    limits: ClassVar[tuple[str, ...]] = ("max_tokens",)
    stop: ClassVar[str] = "stop_sequences"
    priority_header: ClassVar[str] = "x-vllm-priority"
    versions: ClassVar[tuple[bytes, ...]] = (b"anthropic-version", b"anthropic-beta")

    def prompt(self, body: Body, model: str) -> Prompt:
        return chat_prompt(body, model)

    def reader(self, wants_usage: bool, reads_text: bool) -> StreamReader:
        return MessageReader(reads_text)

    def answer(self, data: bytes) -> Answer:
        message = whole_answer(data, "content")
        tokens = _Tokens()
        tokens.feed(message.get("usage"))
        return Answer(tokens.usage, anthropic_tools(message))

    def error(self, error: ApiError) -> bytes:
        return error_body(error.status, error.message)

    def refusal(self, status: int, body: bytes, path: str) -> bytes:
        """What vLLM cannot parse it answers in OpenAI's shape, on this route too."""
        message = message_of(body)
        if message is None:
            return super().refusal(status, body, path)
        return body if json.loads(body).get("type") == "error" else error_body(status, message)

    def error_events(self, body: bytes) -> bytes:
        return b"event: error\ndata: %b\n\n" % one_line(body)


def error_body(status: int, message: str) -> bytes:
    """An error in Anthropic's shape."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


class MessageReader(StreamReader):
    """Reads the events of a message."""

    telling: ClassVar[tuple[bytes, ...]] = (
        b'"message_start"',
        b'"message_delta"',
        b'"message_stop"',
        b'"content_block_start"',
        b'"error"',
    )
    token: ClassVar[bytes] = b'"content_block_delta"'
    text: ClassVar[re.Pattern[bytes]] = re.compile(rb'"text":\s?"((?:[^"\\]|\\.)*)"')

    def __init__(self, reads_text: bool) -> None:
        self._named = AnthropicCalls()
        super().__init__(self._named, reads_text)
        self._spent = _Tokens()

    def _read_payload(self, payload: Mapping[str, object]) -> bool:
        kind = payload.get("type")
        if kind == "content_block_delta":
            self.started = True
            self.tokens += 1
        elif kind == "message_stop":
            self.done = True
        elif kind == "error":
            error = payload.get("error")
            fields = error if isinstance(error, Mapping) else {}
            self._note_error(fields.get("message", error), _STATUS.get(str(fields.get("type")), 500))
        message = payload.get("message")
        self._spent.feed(message.get("usage") if isinstance(message, Mapping) else payload.get("usage"))
        self.usage = self._spent.usage
        self._named.feed(payload)
        return True


class _Tokens:
    """The counts of a message, which come in parts; `input_tokens` are those that were not cached."""

    def __init__(self) -> None:
        self._counts: dict[str, Tokens] = {}

    def feed(self, usage: object) -> None:
        """Takes what a usage object says; later ones replace earlier ones, name by name."""
        for name, value in usage.items() if isinstance(usage, Mapping) else ():
            if (tokens := count(value)) is not None:
                self._counts[name] = tokens

    @property
    def usage(self) -> Usage | None:
        """The usage so far; None before there is an output count."""
        counts = self._counts
        if "input_tokens" not in counts or "output_tokens" not in counts:
            return None
        cached = counts.get("cache_read_input_tokens")
        prompt = counts["input_tokens"] + (cached or 0) + counts.get("cache_creation_input_tokens", 0)
        return Usage(prompt, counts["output_tokens"], cached)
