"""What the emulated engine answers, token by token, in the shapes of vLLM's API."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

from agentserve.engines.emulation.text import filler, tokenize
from scheduler.types import Tokens

Json = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Answer:
    """The text of an answer, or the one tool call it consists of, with one piece for every output token."""

    pieces: Sequence[str]
    tool: str | None = None

    @property
    def tokens(self) -> list[bytes]:
        """Its tokens, as they will stand in the prompt of the program's next call."""
        return tokenize([*([self.tool] if self.tool is not None else []), self.text])

    @property
    def text(self) -> str:
        """The whole text, or the call's arguments."""
        return "".join(self.pieces)


def words(count: Tokens, seed: str) -> Answer:
    """An answer of `count` tokens of filler."""
    return Answer(filler(count, seed))


def call(tool: str, count: Tokens, seed: str) -> Answer:
    """A call of the tool, of about `count` tokens: valid arguments come before the exact number."""
    overhead = len(tokenize([tool, '{"input": ""}']))
    arguments = json.dumps({"input": "".join(filler(max(1, count - overhead), seed))})
    name = [""] * len(tokenize([tool]))
    return Answer([*name, *(piece.decode() for piece in tokenize([arguments]))], tool)


def usage(prompt: Tokens, output: Tokens, cached: Tokens) -> Json:
    """The account of a call in tokens, as vLLM gives it."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


class Wire(Protocol):
    """One answer in the shape of one API."""

    def chunks(self, index: int) -> list[Json]:
        """The chunks of a stream that carry the output token of that index."""
        ...

    def whole(self, spent: Json) -> Json:
        """The answer in one piece."""
        ...

    def closing(self, spent: Json) -> Json:
        """The chunk of a stream that carries only the usage."""
        ...


@dataclass(slots=True)
class _Envelope:
    model: str
    answer: Answer
    id: str
    created: int = field(default_factory=lambda: int(time.time()))

    def _wrap(self, kind: str, choices: list[JsonValue], **more: JsonValue) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **more,
        }

    def _ends(self, index: int) -> bool:
        return index == len(self.answer.pieces) - 1


class CompletionWire(_Envelope):
    """Plain completions."""

    def __init__(self, model: str, answer: Answer) -> None:
        super().__init__(model, answer, f"cmpl-{uuid.uuid4().hex}")

    def chunks(self, index: int) -> list[Json]:
        """One chunk a token."""
        finish = "length" if self._ends(index) else None
        choice: Json = {"index": 0, "text": self.answer.pieces[index], "logprobs": None, "finish_reason": finish}
        return [self._wrap("text_completion", [choice])]

    def whole(self, spent: Json) -> Json:
        """The answer in one piece."""
        choice: Json = {"index": 0, "text": self.answer.text, "logprobs": None, "finish_reason": "length"}
        return self._wrap("text_completion", [choice], usage=spent)

    def closing(self, spent: Json) -> Json:
        """The usage."""
        return self._wrap("text_completion", [], usage=spent)


class ChatWire(_Envelope):
    """Chat completions."""

    def __init__(self, model: str, answer: Answer) -> None:
        super().__init__(model, answer, f"chatcmpl-{uuid.uuid4().hex}")
        self._call_id = f"chatcmpl-tool-{uuid.uuid4().hex}"

    def chunks(self, index: int) -> list[Json]:
        """The role first, then one chunk a token; a call's name comes with its first token."""
        chunks = [self._delta({"role": "assistant", "content": ""})] if index == 0 else []
        if self.answer.tool is not None and index == 0:
            chunks.append(self._delta({"tool_calls": [{"index": 0, **self._call("")}]}))
        finish = self._finish if self._ends(index) else None
        return [*chunks, self._delta(self._piece(self.answer.pieces[index]), finish)]

    def whole(self, spent: Json) -> Json:
        """The answer in one piece."""
        message: Json = {"role": "assistant", "content": self.answer.text}
        if self.answer.tool is not None:
            message = {"role": "assistant", "content": None, "tool_calls": [self._call(self.answer.text)]}
        choice: Json = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish}
        return self._wrap("chat.completion", [choice], usage=spent)

    def closing(self, spent: Json) -> Json:
        """The usage."""
        return self._wrap("chat.completion.chunk", [], usage=spent)

    @property
    def _finish(self) -> str:
        return "length" if self.answer.tool is None else "tool_calls"

    def _delta(self, delta: Json, finish: str | None = None) -> Json:
        choice: Json = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._wrap("chat.completion.chunk", [choice])

    def _piece(self, piece: str) -> Json:
        if self.answer.tool is None:
            return {"content": piece}
        return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}

    def _call(self, arguments: str) -> Json:
        function: Json = {"name": self.answer.tool, "arguments": arguments}
        return {"id": self._call_id, "type": "function", "function": function}
