"""The protocols that generate, each with a request, an answer, and how it fails: for tests of what they have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agentserve.gateway.protocols import PROTOCOLS
from tests.gateway import fakes
from tests.gateway.fakes import event
from tests.gateway.world import CHAT, COMPLETIONS, MESSAGES, RESPONSES

Fields = dict[str, object]


def named(payload: Mapping[str, object]) -> bytes:
    """An event with its type's name, as Anthropic's and the Responses API's are."""
    return b"event: " + str(payload["type"]).encode() + b"\n" + event(payload)


def openai_error(body: Fields) -> str:
    error = body["error"]
    assert isinstance(error, dict)
    assert set(error) >= {"message", "type", "param", "code"}
    return str(error["message"])


def anthropic_error(body: Fields) -> str:
    error = body["error"]
    assert body["type"] == "error"
    assert isinstance(error, dict)
    assert set(error) == {"type", "message"}
    assert str(error["type"]).endswith(("_error", "_too_large"))
    return str(error["message"])


def responses_event(body: Fields) -> str:
    assert (body["type"], set(body)) == ("error", {"type", "code", "message", "param", "sequence_number"})
    return str(body["message"])


@dataclass(frozen=True)
class Spoken:
    """A protocol as a client speaks it. Its stream has twelve prompt tokens, four of them cached, and two of output."""

    path: str
    request: Mapping[str, object]
    stream: Sequence[bytes]
    """Events; the last ends it."""
    whole: bytes
    tool: Sequence[bytes]
    """The events that call `search`, in place of those of text."""
    whole_tool: bytes
    error: Callable[[Fields], str] = openai_error
    """Checks an error answer's shape, and gives its message."""
    error_event: Callable[[Fields], str] = openai_error
    done: Sequence[bytes] = field(default=())
    """What comes behind an error event."""

    @property
    def keep_alive(self) -> bytes:
        return PROTOCOLS[self.path].keep_alive


def _whole_chat(message: Mapping[str, object]) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return json.dumps({"id": "x", "choices": [choice], "usage": fakes.usage(12, 2, 4)}).encode()


_CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "search", "arguments": "{}"}}
_USAGE = event({"id": "x", "choices": [], "usage": fakes.usage(12, 2, 4)})

CHATS = Spoken(
    CHAT,
    {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    (fakes.ROLE, *fakes.WORDS, fakes.STOP, _USAGE, fakes.DONE),
    _whole_chat({"content": "Hello world"}),
    (fakes.ROLE, fakes.delta(tool_calls=[_CALL]), fakes.STOP, _USAGE, fakes.DONE),
    _whole_chat({"content": None, "tool_calls": [_CALL]}),
    done=(fakes.DONE,),
)

_TEXT_CHOICES = [{"index": 0, "text": "Hello world", "finish_reason": "stop"}]
_BASH = "\n```bash\nsearch it\n```\n"
COMPLETION = Spoken(
    COMPLETIONS,
    {"model": "m", "prompt": "hi"},
    (
        event({"choices": [{"index": 0, "text": "Hello"}]}),
        event({"choices": [{"index": 0, "text": " world"}]}),
        _USAGE,
        fakes.DONE,
    ),
    json.dumps({"choices": _TEXT_CHOICES, "usage": fakes.usage(12, 2, 4)}).encode(),
    (
        event({"choices": [{"index": 0, "text": "so"}]}),
        event({"choices": [{"index": 0, "text": _BASH}]}),
        _USAGE,
        fakes.DONE,
    ),
    json.dumps({"choices": [{"index": 0, "text": _BASH}], "usage": fakes.usage(12, 2, 4)}).encode(),
    done=(fakes.DONE,),
)

_SPENT = {
    "input_tokens": 12,
    "output_tokens": 2,
    "total_tokens": 14,
    "input_tokens_details": {"cached_tokens": 4},
}
_MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hello world"}],
}
_FUNCTION = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "search", "arguments": "{}"}


def _response(output: Sequence[object], spent: Mapping[str, object] | None) -> Fields:
    return {"id": "resp_1", "object": "response", "error": None, "output": list(output), "usage": spent}


def _response_stream(item: Mapping[str, object], kind: str, pieces: Sequence[str]) -> tuple[bytes, ...]:
    begun = {"type": "response.created", "response": _response([], None)}
    added = {"type": "response.output_item.added", "output_index": 0, "item": item}
    deltas = [{"type": kind, "output_index": 0, "item_id": "x", "delta": piece} for piece in pieces]
    ended = {"type": "response.completed", "response": _response([item], _SPENT)}
    events: list[Mapping[str, object]] = [begun, added, *deltas, ended]
    return tuple(named(event) for event in events)


RESPONSE = Spoken(
    RESPONSES,
    {"model": "m", "input": "hi"},
    _response_stream(_MESSAGE, "response.output_text.delta", ["Hello", " world"]),
    json.dumps(_response([_MESSAGE], _SPENT)).encode(),
    _response_stream(_FUNCTION, "response.function_call_arguments.delta", ["{", "}"]),
    json.dumps(_response([_FUNCTION], _SPENT)).encode(),
    error_event=responses_event,
)

_START = {"input_tokens": 12, "output_tokens": 0}
_END = {"input_tokens": 8, "output_tokens": 2, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4}
_TEXT = {"type": "text", "text": "Hello world"}
_USE = {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {}}


def _message(content: Sequence[object], spent: Mapping[str, object]) -> Fields:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content, "usage": spent}


def _message_stream(block: Mapping[str, object], deltas: Sequence[Mapping[str, object]]) -> tuple[bytes, ...]:
    events: list[Mapping[str, object]] = [
        {"type": "message_start", "message": _message([], _START)},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": _END},
        {"type": "message_stop"},
    ]
    return tuple(named(event) for event in events)


MESSAGE = Spoken(
    MESSAGES,
    {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    _message_stream(
        {"type": "text", "text": ""}, [{"type": "text_delta", "text": text} for text in ("Hello", " world")]
    ),
    json.dumps(_message([_TEXT], _END)).encode(),
    _message_stream(_USE, [{"type": "input_json_delta", "partial_json": "{}"}]),
    json.dumps(_message([_USE], _END)).encode(),
    error=anthropic_error,
    error_event=anthropic_error,
)

SPOKEN: Mapping[str, Spoken] = {
    "chat": CHATS,
    "completions": COMPLETION,
    "responses": RESPONSE,
    "messages": MESSAGE,
}
