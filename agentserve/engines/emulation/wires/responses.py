"""OpenAI's responses."""

from __future__ import annotations

import time
import uuid
from itertools import count

from pydantic import JsonValue

from agentserve.engines.emulation.answers import Answer
from agentserve.engines.emulation.wires.base import Json, event
from scheduler.types import Usage


class ResponsesWire:
    """One response with one output item."""

    def __init__(self, model: str, answer: Answer, previous: str | None) -> None:
        self.id = f"resp_{uuid.uuid4().hex}"
        self._model = model
        self._answer = answer
        self._previous = previous
        self._created = int(time.time())
        self._item_id = f"{'msg' if answer.tool is None else 'fc'}_{uuid.uuid4().hex}"
        self._call_id = f"chatcmpl-tool-{uuid.uuid4().hex}"
        self._numbers = count()

    def opening(self, prompt: int) -> list[bytes]:
        """The response without output, and the beginning of its item."""
        begun = self._response("in_progress", [], None)
        events = [
            self._event("response.created", response=begun),
            self._event("response.in_progress", response=begun),
            self._event("response.output_item.added", output_index=0, item=self._item("in_progress", "")),
        ]
        if self._answer.tool is None:
            events.append(self._part("response.content_part.added", part=_text("")))
        return events

    def token(self, index: int) -> list[bytes]:
        """One delta."""
        piece = self._answer.pieces[index]
        if self._answer.tool is None:
            return [self._part("response.output_text.delta", delta=piece, logprobs=[])]
        name = "response.function_call_arguments.delta"
        return [self._event(name, item_id=self._item_id, output_index=0, delta=piece)]

    def closing(self, spent: Usage) -> list[bytes]:
        """The ends of what began, and the response with its account."""
        text = self._answer.text
        if self._answer.tool is None:
            ends = [
                self._part("response.output_text.done", text=text, logprobs=[]),
                self._part("response.content_part.done", part=_text(text)),
            ]
        else:
            name = "response.function_call_arguments.done"
            ends = [
                self._event(name, item_id=self._item_id, output_index=0, name=self._answer.tool, arguments=text),
            ]
        done = self._event("response.output_item.done", output_index=0, item=self._item("completed", text))
        return [*ends, done, self._event("response.completed", response=self.whole(spent))]

    def whole(self, spent: Usage) -> Json:
        """The response in one piece."""
        status = "incomplete" if self._answer.tool is None else "completed"
        return self._response(status, [self._item("completed", self._answer.text)], _usage(spent))

    def _response(self, status: str, output: list[JsonValue], usage: Json | None) -> Json:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "error": None,
            "instructions": None,
            "metadata": None,
            "model": self._model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": self._previous,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": usage,
        }

    def _item(self, status: str, text: str) -> Json:
        if self._answer.tool is None:
            content: list[JsonValue] = [_text(text)] if status == "completed" else []
            return {"id": self._item_id, "type": "message", "role": "assistant", "status": status, "content": content}
        return {
            "id": self._item_id,
            "type": "function_call",
            "call_id": self._call_id,
            "name": self._answer.tool,
            "arguments": text,
            "status": status,
        }

    def _part(self, kind: str, /, **fields: JsonValue) -> bytes:
        return self._event(kind, item_id=self._item_id, output_index=0, content_index=0, **fields)

    def _event(self, kind: str, /, **fields: JsonValue) -> bytes:
        return event({"type": kind, "sequence_number": next(self._numbers), **fields}, kind)


def _text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": None}


def _usage(spent: Usage) -> Json:
    return {
        "input_tokens": spent.prompt,
        "input_tokens_details": {"cached_tokens": spent.cached},
        "output_tokens": spent.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": spent.prompt + spent.output,
    }
