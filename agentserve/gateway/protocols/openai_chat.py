"""OpenAI's chat completions and plain completions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from agentserve.gateway.answer import Answer, read_usage, whole_answer
from agentserve.gateway.prompt import Prompt, chat_prompt, plain_prompt
from agentserve.gateway.protocols.base import WireProtocol
from agentserve.gateway.splice import Body
from agentserve.gateway.stream import StreamReader
from scheduler.types import Tokens, Usage
from tools.calls import OpenAICalls, openai_tools, text_tools

_TOKEN_FIELDS = ("content", "reasoning", "reasoning_content", "tool_calls", "function_call", "refusal")


class Completions(WireProtocol):
    """Plain completions."""

    path: ClassVar[str] = "/v1/completions"
    limits: ClassVar[tuple[str, ...]] = ("max_tokens", "max_completion_tokens")
    least_limit: ClassVar[Tokens] = 0
    stop: ClassVar[str] = "stop"
    usage_option: ClassVar[bool] = True

    def prompt(self, body: Body, model: str) -> Prompt:
        return plain_prompt(body, model)

    def reader(self, wants_usage: bool, reads_text: bool) -> StreamReader:
        return ChoicesReader(wants_usage, reads_text)

    def answer(self, data: bytes) -> Answer:
        answer = whole_answer(data, "choices")
        return Answer(_usage(answer.get("usage")), _tools(answer["choices"]))


class Chat(Completions):
    """Chat completions."""

    path: ClassVar[str] = "/v1/chat/completions"
    least_limit: ClassVar[Tokens] = 1

    def prompt(self, body: Body, model: str) -> Prompt:
        return chat_prompt(body, model)


class ChoicesReader(StreamReader):
    """Reads chunks with choices.

    The event that holds nothing but the usage is left out where the client has not asked for it.
    """

    telling: ClassVar[tuple[bytes, ...]] = (b'"usage"', b"[DONE]", b'"tool_calls"', b'"error"', b'"function_call"')
    token: ClassVar[bytes] = b"data:"
    text: ClassVar[re.Pattern[bytes]] = re.compile(rb'"(?:content|text)":\s?"((?:[^"\\]|\\.)*)"')

    def __init__(self, wants_usage: bool, reads_text: bool) -> None:
        self._named = OpenAICalls()
        super().__init__(self._named, reads_text)
        self._wants_usage = wants_usage

    def _read_payload(self, payload: Mapping[str, object]) -> bool:
        if (error := payload.get("error")) is not None:
            fields = error if isinstance(error, Mapping) else {}
            self._note_error(fields.get("message", error), fields.get("code"))
        choices = payload.get("choices")
        if isinstance(choices, list) and choices:
            self._read_choices(choices)
        usage = payload.get("usage")
        self.usage = _usage(usage) or self.usage
        return self._wants_usage or bool(choices) or not usage

    def _read_choices(self, choices: list[object]) -> None:
        for position, choice in enumerate(choices):
            if not isinstance(choice, Mapping):
                continue
            delta = choice.get("delta")
            text = choice.get("text")
            if text or (isinstance(delta, Mapping) and any(delta.get(name) for name in _TOKEN_FIELDS)):
                self.started = True
                self.tokens += 1
            if position == 0:
                self._named.text(text)
                self._named.feed(delta)


def _usage(value: object) -> Usage | None:
    return read_usage(value, "prompt_tokens", "completion_tokens", "prompt_tokens_details")


def _tools(choices: object) -> tuple[str, ...]:
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, Mapping):
        return ()
    text = first.get("text")
    return text_tools(text) if isinstance(text, str) else openai_tools(first.get("message"))
