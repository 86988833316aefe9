"""Request bodies of the emulated engine, as far as it reads them, and the prompts they stand for."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agentserve.engines.emulation.text import TOKEN_BYTES, tokenize
from scheduler.types import Tokens

TokenId = Annotated[int, Field(ge=0, lt=2**32)]
OPENING = "<assistant>"
"""What a chat prompt ends with, and what comes before every answer in the prompts after it."""


class StreamOptions(BaseModel):
    """What a stream is asked to carry besides the answer."""

    include_usage: bool = False


class _Function(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str


class _Arguments(BaseModel):
    name: str
    arguments: str = ""


class _Call(BaseModel):
    function: _Arguments


class _Tool(BaseModel):
    model_config = ConfigDict(extra="allow")

    function: _Function


class Message(BaseModel):
    """One message of a chat."""

    role: str
    content: str | list[dict[str, JsonValue]] | None = None
    tool_calls: list[_Call] | None = None

    def segments(self) -> list[str]:
        """The message as it stands in a prompt."""
        parts = [self.content] if isinstance(self.content, str) else [_part_text(part) for part in self.content or []]
        calls = [segment for call in self.tool_calls or [] for segment in (call.function.name, call.function.arguments)]
        return [f"<{self.role}>", *parts, *calls]


def _part_text(part: dict[str, JsonValue]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else json.dumps(part, sort_keys=True)


class GenerationBody(BaseModel, ABC):
    """What the two inference routes have in common; fields that are not named here are accepted and ignored."""

    model: str = ""
    max_tokens: int | None = Field(default=None, ge=1)
    n: Literal[1] = 1
    seed: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    priority: int = 0
    vllm_xargs: dict[str, JsonValue] | None = None

    @property
    def output_limit(self) -> Tokens | None:
        """The most output tokens that are asked for."""
        return self.max_tokens

    @abstractmethod
    def tokens(self) -> list[bytes]:
        """The prompt's tokens."""


class CompletionBody(GenerationBody):
    """`POST /v1/completions`."""

    prompt: str | list[TokenId]

    def tokens(self) -> list[bytes]:
        """The prompt's tokens; the client may have cut it into its own."""
        if isinstance(self.prompt, str):
            return tokenize([self.prompt])
        return [token.to_bytes(TOKEN_BYTES) for token in self.prompt]


class ChatBody(GenerationBody):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    tools: list[_Tool] | None = None
    tool_choice: JsonValue = None

    @property
    def output_limit(self) -> Tokens | None:
        """The most output tokens that are asked for."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def required_tool(self) -> str | None:
        """The tool that has to be called, if one has to."""
        return self.tools[0].function.name if self.tools and self.tool_choice == "required" else None

    def tokens(self) -> list[bytes]:
        """The chat's tokens: its tools, its messages, and the opening of the answer."""
        tools = [tool.model_dump_json() for tool in self.tools or []]
        return tokenize([*tools, *(segment for message in self.messages for segment in message.segments()), OPENING])


class TokenizeBody(BaseModel):
    """`POST /tokenize`."""

    model: str = ""
    prompt: str
