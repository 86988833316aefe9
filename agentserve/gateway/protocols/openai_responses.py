"""OpenAI's Responses API."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import ClassVar

from agentserve.gateway.answer import Answer, read_usage, whole_answer
from agentserve.gateway.errors import ApiError, wrong
from agentserve.gateway.prompt import Prompt, items_prompt
from agentserve.gateway.protocols.base import WireProtocol
from agentserve.gateway.splice import Body
from agentserve.gateway.stream import StreamReader
from scheduler.types import Usage
from tools.calls import ResponsesCalls, responses_tools

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class Responses(WireProtocol):
    """Responses. What `previous_response_id` names is kept by the engine; the gateway knows whose it was (`chain`)."""

    path: ClassVar[str] = "/v1/responses"
    limits: ClassVar[tuple[str, ...]] = ("max_output_tokens",)
    stop: ClassVar[str] = ""

    def check(self, body: Body) -> None:
        if body.fields.get("background"):
            message = "background is not supported: the answer comes on this connection"
            raise ApiError(400, message, param="background", code="unsupported_value")
        previous = body.fields.get("previous_response_id")
        if previous is not None and not isinstance(previous, str):
            raise wrong("previous_response_id", "the id of a response")

    def prompt(self, body: Body, model: str) -> Prompt:
        return items_prompt(body, model)

    def reader(self, wants_usage: bool, reads_text: bool) -> StreamReader:
        return ResponseReader(reads_text)

    def answer(self, data: bytes) -> Answer:
        response = whole_answer(data, "output")
        return Answer(_usage(response.get("usage")), responses_tools(response), _id(response))

    def error_events(self, body: bytes) -> bytes:
        """One `error` event, whose fields stand beside its type."""
        try:
            error = json.loads(body)["error"]
            fields = {name: error.get(name) for name in ("code", "message", "param")}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            fields = {"code": None, "message": body[:500].decode(errors="replace"), "param": None}
        event = {"type": "error", **fields, "sequence_number": 0}
        return b"event: error\ndata: %b\n\n" % json.dumps(event).encode()


class ResponseReader(StreamReader):
    """Reads the events of a response."""

    telling: ClassVar[tuple[bytes, ...]] = (
        b'"response.completed"',
        b'"response.incomplete"',
        b'"response.failed"',
        b'"response.cancelled"',
        b'"response.output_item.added"',
        b'"error"',
    )
    token: ClassVar[bytes] = b'.delta"'
    text: ClassVar[re.Pattern[bytes]] = re.compile(rb'"delta":\s?"((?:[^"\\]|\\.)*)"')

    def __init__(self, reads_text: bool) -> None:
        self._named = ResponsesCalls()
        super().__init__(self._named, reads_text)

    def _read_payload(self, payload: Mapping[str, object]) -> bool:
        kind = payload.get("type")
        response = payload.get("response")
        if isinstance(response, Mapping):
            self.response = _id(response)
            self.usage = _usage(response.get("usage")) or self.usage
        if isinstance(kind, str) and kind.endswith(".delta"):
            self.started = True
            self.tokens += 1
        if kind in _ENDS:
            self.done = True
        if kind == "error":
            self._read_error(payload)
        elif kind == "response.failed" and isinstance(response, Mapping):
            self._read_error(response)
        self._named.feed(payload)
        return True

    def _read_error(self, payload: Mapping[str, object]) -> None:
        inner = payload.get("error")
        error = inner if isinstance(inner, Mapping) else payload
        self._note_error(error.get("message", "it says no more"), error.get("code"))


def _id(response: Mapping[str, object]) -> str:
    name = response.get("id")
    return name if isinstance(name, str) else ""


def _usage(value: object) -> Usage | None:
    return read_usage(value, "input_tokens", "output_tokens", "input_tokens_details")
