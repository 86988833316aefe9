"""OpenAI's plain completions and chat completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from agentserve.engines.emulation.answers import Answer
from agentserve.engines.emulation.wires.base import Json, event
from scheduler.types import Usage

DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class _Envelope:
    model: str
    answer: Answer
    id: str
    include_usage: bool
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

    def opening(self, prompt: int) -> list[bytes]:
        """Nothing: what comes first comes with the first token."""
        return []

    def _closing(self, kind: str, spent: Usage) -> list[bytes]:
        usage = [event(self._wrap(kind, [], usage=_usage(spent)))] if self.include_usage else []
        return [*usage, DONE]


class CompletionWire(_Envelope):
    """Plain completions. `told` are the log-probabilities of the answer's tokens; with `prompt`, the prompt's token ids, those
    of both are told.
    """

    def __init__(
        self,
        model: str,
        answer: Answer,
        *,
        include_usage: bool = False,
        told: Sequence[Json] | None = None,
        prompt: list[int] | None = None,
    ) -> None:
        super().__init__(model, answer, f"cmpl-{uuid.uuid4().hex}", include_usage)
        self._told = told
        self._prompt = prompt

    def token(self, index: int) -> list[bytes]:
        """One chunk a token."""
        finish = "length" if self._ends(index) else None
        choice = self._choice(index, index + 1, finish, with_prompt=index == 0)
        return [event(self._wrap("text_completion", [choice]))]

    def _choice(self, start: int, end: int, finish: str | None, *, with_prompt: bool) -> Json:
        pieces = self.answer.pieces[start:end]
        choice: Json = {"index": 0, "text": "".join(pieces), "logprobs": None, "finish_reason": finish}
        if self._told is not None:
            told = self._told[start:end]
            choice["logprobs"] = {"tokens": [*pieces], "token_logprobs": [entry["logprob"] for entry in told]}
        if self._prompt is not None:
            choice["token_ids"] = [int.from_bytes(piece.encode()) for piece in pieces]
            choice["prompt_token_ids"] = [*self._prompt] if with_prompt else None
        return choice

    def whole(self, spent: Usage) -> Json:
        """The answer in one piece."""
        choice = self._choice(0, len(self.answer.pieces), "length", with_prompt=True)
        return self._wrap("text_completion", [choice], usage=_usage(spent))

    def closing(self, spent: Usage) -> list[bytes]:
        """The usage, if it was asked for, and the end."""
        return self._closing("text_completion", spent)


class ChatWire(_Envelope):
    """Chat completions. `told` are the log-probabilities of the answer's tokens, and `scored` those of the prompt's."""

    def __init__(
        self,
        model: str,
        answer: Answer,
        *,
        include_usage: bool = False,
        told: Sequence[Json] | None = None,
        scored: list[JsonValue] | None = None,
    ) -> None:
        super().__init__(model, answer, f"chatcmpl-{uuid.uuid4().hex}", include_usage)
        self._told = told
        self._scored = scored
        self._call_id = f"chatcmpl-tool-{uuid.uuid4().hex}"

    def token(self, index: int) -> list[bytes]:
        """The role first, then one chunk a token; a call's name comes with its first token."""
        chunks = [self._delta({"role": "assistant", "content": ""})] if index == 0 else []
        if self.answer.tool is not None and index == 0:
            chunks.append(self._delta({"tool_calls": [{"index": 0, **self._call("")}]}))
        finish = self._finish if self._ends(index) else None
        piece = self._delta(self._piece(self.answer.pieces[index]), finish, self._logprobs(index, index + 1))
        return [event(chunk) for chunk in (*chunks, piece)]

    def whole(self, spent: Usage) -> Json:
        """The answer in one piece."""
        message: Json = {"role": "assistant", "content": self.answer.text}
        if self.answer.tool is not None:
            message = {"role": "assistant", "content": None, "tool_calls": [self._call(self.answer.text)]}
        choice: Json = {"index": 0, "message": message, "finish_reason": self._finish}
        choice["logprobs"] = self._logprobs(0, len(self.answer.pieces))
        return self._wrap("chat.completion", [choice], usage=_usage(spent), prompt_logprobs=self._scored)

    def closing(self, spent: Usage) -> list[bytes]:
        """The usage, if it was asked for, and the end."""
        return self._closing("chat.completion.chunk", spent)

    @property
    def _finish(self) -> str:
        return "length" if self.answer.tool is None else "tool_calls"

    def _logprobs(self, start: int, end: int) -> JsonValue:
        return None if self._told is None else {"content": [*self._told[start:end]]}

    def _delta(self, delta: Json, finish: str | None = None, logprobs: JsonValue = None) -> Json:
        choice: Json = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._wrap("chat.completion.chunk", [choice])

    def _piece(self, piece: str) -> Json:
        if self.answer.tool is None:
            return {"content": piece}
        return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}

    def _call(self, arguments: str) -> Json:
        function: Json = {"name": self.answer.tool, "arguments": arguments}
        return {"id": self._call_id, "type": "function", "function": function}


def _usage(spent: Usage) -> Json:
    return {
        "prompt_tokens": spent.prompt,
        "completion_tokens": spent.output,
        "total_tokens": spent.prompt + spent.output,
        "prompt_tokens_details": {"cached_tokens": spent.cached},
    }
