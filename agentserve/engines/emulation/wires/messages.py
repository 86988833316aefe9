"""Anthropic's messages."""

from __future__ import annotations

import json
import uuid

from pydantic import JsonValue

from agentserve.engines.emulation.answers import Answer
from agentserve.engines.emulation.wires.base import Json, event
from scheduler.types import Usage


class MessagesWire:
    """One message with one content block."""

    def __init__(self, model: str, answer: Answer) -> None:
        self._model = model
        self._answer = answer
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._call_id = f"chatcmpl-tool-{uuid.uuid4().hex}"

    def opening(self, prompt: int) -> list[bytes]:
        """The message without content, and the beginning of its block."""
        usage: Json = {"input_tokens": prompt, "output_tokens": 0}
        start: Json = {"type": "message_start", "message": self._message([], None, usage)}
        block: Json = {"type": "content_block_start", "content_block": self._block(""), "index": 0}
        return [_event(start), _event(block)]

    def token(self, index: int) -> list[bytes]:
        """One delta."""
        piece = self._answer.pieces[index]
        delta: Json = {"type": "text_delta", "text": piece}
        if self._answer.tool is not None:
            delta = {"type": "input_json_delta", "partial_json": piece}
        return [_event({"type": "content_block_delta", "delta": delta, "index": 0})]

    def closing(self, spent: Usage) -> list[bytes]:
        """The end of the block, the account, and the end."""
        delta: Json = {"stop_reason": self._stop, "stop_sequence": None}
        return [
            _event({"type": "content_block_stop", "index": 0}),
            _event({"type": "message_delta", "delta": delta, "usage": _usage(spent)}),
            _event({"type": "message_stop"}),
        ]

    def whole(self, spent: Usage) -> Json:
        """The message in one piece."""
        return self._message([self._block(self._answer.text)], self._stop, _usage(spent))

    @property
    def _stop(self) -> str:
        return "max_tokens" if self._answer.tool is None else "tool_use"

    def _message(self, content: list[JsonValue], stop: str | None, usage: Json) -> Json:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._model,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }

    def _block(self, text: str) -> Json:
        if self._answer.tool is None:
            return {"type": "text", "text": text}
        arguments = json.loads(text) if text else {}
        return {"type": "tool_use", "id": self._call_id, "name": self._answer.tool, "input": arguments}


def _event(payload: Json) -> bytes:
    return event(payload, str(payload["type"]))


def _usage(spent: Usage) -> Json:
    cached = spent.cached or 0
    return {
        "input_tokens": spent.prompt - cached,
        "output_tokens": spent.output,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
    }
