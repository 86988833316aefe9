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


class _Named(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str = ""


class _Choice(BaseModel):
    type: str
    name: str | None = None


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


def _item_segments(items: list[dict[str, JsonValue]]) -> list[str]:
    """Items of a response's input as the messages of a chat stand in a prompt."""
    return [segment for item in items for segment in _segments_of(item)]


def _segments_of(item: dict[str, JsonValue]) -> list[str]:
    match item:
        case {"type": "function_call", "name": str(name), "arguments": str(arguments)}:
            return ["<assistant>", name, arguments]
        case {"type": "function_call_output", "output": output}:
            return ["<tool>", output if isinstance(output, str) else json.dumps(output)]
        case {"role": str(role), "content": str(text)}:
            return [f"<{role}>", text]
        case {"role": str(role), "content": list(parts)}:
            return [f"<{role}>", *(_part_text(part) for part in parts if isinstance(part, dict))]
        case _:
            return [json.dumps(item, sort_keys=True)]


def _part_text(part: dict[str, JsonValue]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else json.dumps(part, sort_keys=True)


class GenerationBody(BaseModel, ABC):
    """What the inference routes have in common; fields that are not named here are accepted and ignored."""

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

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @abstractmethod
    def tokens(self) -> list[bytes]:
        """The prompt's tokens."""


class CompletionBody(GenerationBody):
    """`POST /v1/completions`."""

    prompt: str | list[TokenId]
    logprobs: int | None = Field(default=None, ge=0)
    return_token_ids: bool = False

    def tokens(self) -> list[bytes]:
        """The prompt's tokens; the client may have cut it into its own."""
        if isinstance(self.prompt, str):
            return tokenize([self.prompt])
        return [token.to_bytes(TOKEN_BYTES) for token in self.prompt]


class ChatBody(GenerationBody):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=20)
    prompt_logprobs: int | None = Field(default=None, ge=0)
    continue_final_message: bool = False
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
        """The chat's tokens: its tools, its messages, and the opening of the answer where it does not go on with one."""
        tools = [tool.model_dump_json() for tool in self.tools or []]
        opening = [] if self.continue_final_message else [OPENING]
        return tokenize([*tools, *(segment for message in self.messages for segment in message.segments()), *opening])


class ResponsesBody(GenerationBody):
    """`POST /v1/responses`."""

    input: str | list[dict[str, JsonValue]]
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    previous_response_id: str | None = None
    tools: list[_Named] | None = None
    tool_choice: JsonValue = None

    @property
    def output_limit(self) -> Tokens | None:
        """The most output tokens that are asked for."""
        return self.max_output_tokens

    @property
    def required_tool(self) -> str | None:
        """The tool that has to be called, if one has to."""
        return self.tools[0].name if self.tools and self.tool_choice == "required" else None

    def tokens(self) -> list[bytes]:
        """The input's tokens, and the opening of the answer; what came before is not in it."""
        tools = [tool.model_dump_json() for tool in self.tools or []]
        system = ["<system>", self.instructions] if self.instructions else []
        items = ["<user>", self.input] if isinstance(self.input, str) else _item_segments(self.input)
        return tokenize([*tools, *system, *items, OPENING])


class _Block(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str
    text: str = ""
    name: str = ""
    input: JsonValue = None
    content: JsonValue = None

    def segments(self) -> list[str]:
        if self.type == "text":
            return [self.text]
        if self.type == "tool_use":
            return [self.name, json.dumps(self.input)]
        return [self.content if isinstance(self.content, str) else json.dumps(self.content)]


class _Turn(BaseModel):
    role: str
    content: str | list[_Block]

    def segments(self) -> list[str]:
        if isinstance(self.content, str):
            return [f"<{self.role}>", self.content]
        return [f"<{self.role}>", *(segment for block in self.content for segment in block.segments())]


class CountBody(BaseModel):
    """`POST /v1/messages/count_tokens`: a message's prompt."""

    model: str = ""
    messages: list[_Turn] = Field(min_length=1)
    system: str | list[_Block] | None = None
    tools: list[_Named] | None = None

    def tokens(self) -> list[bytes]:
        """The tokens of its tools, its system prompt and its turns, and the opening of the answer."""
        tools = [tool.model_dump_json() for tool in self.tools or []]
        system = _Turn(role="system", content=self.system).segments() if self.system else []
        return tokenize([*tools, *system, *(segment for turn in self.messages for segment in turn.segments()), OPENING])


class MessagesBody(CountBody, GenerationBody):
    """`POST /v1/messages`."""

    max_tokens: int = Field(ge=1)
    tool_choice: _Choice | None = None

    @property
    def required_tool(self) -> str | None:
        """The tool that has to be called, if one has to."""
        if self.tool_choice is None or not self.tools:
            return None
        return self.tools[0].name if self.tool_choice.type == "any" else self.tool_choice.name


class DetokenizeBody(BaseModel):
    """`POST /detokenize`."""

    model: str = ""
    tokens: list[TokenId]


class TokenizeBody(BaseModel):
    """`POST /tokenize` of a text."""

    model: str = ""
    prompt: str

    def cut(self) -> list[bytes]:
        """Its tokens."""
        return tokenize([self.prompt])


class TokenizeChatBody(BaseModel):
    """`POST /tokenize` of a chat."""

    model: str = ""
    messages: list[Message] = Field(min_length=1)

    def cut(self) -> list[bytes]:
        """Its tokens, with the opening of its answer."""
        return tokenize([*(segment for message in self.messages for segment in message.segments()), OPENING])
