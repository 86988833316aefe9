"""Which tools a response calls, in the three APIs' words and in a bash block.

The accumulators take parsed JSON as it comes from an engine. What does not have the expected shape is passed over:
a response that nobody understands calls no tool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.fence import BashBlock
from tools.names import clip

_MAX_CALLS = 128
_RESPONSES_CALLS = frozenset(
    {"function_call", "custom_tool_call", "local_shell_call", "shell_call", "apply_patch_call"}
)
"""Output items of the Responses API that the client has to run; those without a name are called by their type."""


class _Calls:
    """The calls named so far, and the text that may hold a bash block instead."""

    __slots__ = ("_block", "_names")

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._block = BashBlock()

    def text(self, piece: object) -> None:
        """Reads a piece of the response's text."""
        if isinstance(piece, str):
            self._block.feed(piece)

    def tools(self) -> tuple[str, ...]:
        """The tools called by what was read so far, in their order; one name for every parallel call.

        Without calls of the API's own, the first word of the text's single bash block; empty if there is none.
        """
        if self._names:
            return tuple(self._names.values())
        return () if self._block.word is None else (self._block.word,)

    def _call(self, index: int, name: object) -> None:
        if isinstance(name, str) and name and len(self._names) < _MAX_CALLS:
            self._names.setdefault(index, clip(name))


class OpenAICalls(_Calls):
    """Reads the deltas of a streamed chat completion, or a whole message as one delta.

    A streamed call says its name once, in the first delta of its index.
    """

    __slots__ = ()

    def feed(self, delta: object) -> None:
        """Reads `choices[0].delta` of a chunk, or `choices[0].message` of a whole answer."""
        if not isinstance(delta, Mapping):
            return
        for piece in _texts(delta.get("content")):
            self.text(piece)
        for position, call in enumerate(_items(delta.get("tool_calls"))):
            self._read_call(call, position)

    def _read_call(self, call: object, position: int) -> None:
        if not isinstance(call, Mapping):
            return
        index = call.get("index", position)
        body = call.get("function") or call.get("custom")
        if isinstance(index, int) and isinstance(body, Mapping):
            self._call(index, body.get("name"))


class AnthropicCalls(_Calls):
    """Reads the events of a streamed message, or the content blocks of a whole one."""

    __slots__ = ()

    def feed(self, event: object) -> None:
        """Reads one event of the stream (`content_block_start` and `content_block_delta`; others are passed over)."""
        if not isinstance(event, Mapping):
            return
        index = event.get("index")
        block = event.get("content_block")
        if event.get("type") == "content_block_start" and isinstance(index, int):
            self._read_block(block, index)
        delta = event.get("delta")
        if event.get("type") == "content_block_delta" and isinstance(delta, Mapping):
            self.text(delta.get("text"))

    def feed_message(self, message: object) -> None:
        """Reads a whole message."""
        if isinstance(message, Mapping):
            for index, block in enumerate(_items(message.get("content"))):
                self._read_block(block, index)

    def _read_block(self, block: object, index: int) -> None:
        if not isinstance(block, Mapping):
            return
        if block.get("type") == "tool_use":
            self._call(index, block.get("name"))
        elif block.get("type") == "text":
            self.text(block.get("text"))


class ResponsesCalls(_Calls):
    """Reads the events of a streamed response of OpenAI's Responses API, or the output items of a whole one."""

    __slots__ = ()

    def feed(self, event: object) -> None:
        """Reads one event (`response.output_item.added` and `response.output_text.delta`; others are passed over)."""
        if not isinstance(event, Mapping):
            return
        index = event.get("output_index")
        if event.get("type") == "response.output_item.added" and isinstance(index, int):
            self._read_item(event.get("item"), index)
        elif event.get("type") == "response.output_text.delta":
            self.text(event.get("delta"))

    def feed_response(self, response: object) -> None:
        """Reads a whole response."""
        if not isinstance(response, Mapping):
            return
        for index, item in enumerate(_items(response.get("output"))):
            self._read_item(item, index)
            if isinstance(item, Mapping) and item.get("type") == "message":
                for piece in _texts(item.get("content")):
                    self.text(piece)

    def _read_item(self, item: object, index: int) -> None:
        if isinstance(item, Mapping) and item.get("type") in _RESPONSES_CALLS:
            self._call(index, item.get("name") or item.get("type"))


def openai_tools(message: object) -> tuple[str, ...]:
    """The tools that a whole chat completion's `message` calls."""
    calls = OpenAICalls()
    calls.feed(message)
    return calls.tools()


def anthropic_tools(message: object) -> tuple[str, ...]:
    """The tools that a whole message of Anthropic's API calls."""
    calls = AnthropicCalls()
    calls.feed_message(message)
    return calls.tools()


def responses_tools(response: object) -> tuple[str, ...]:
    """The tools that a whole response of the Responses API calls."""
    calls = ResponsesCalls()
    calls.feed_response(response)
    return calls.tools()


def text_tools(text: str) -> tuple[str, ...]:
    """The tool that a plain completion's text calls, by its single bash block."""
    block = BashBlock()
    block.feed(text)
    return () if block.word is None else (block.word,)


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _texts(content: object) -> list[object]:
    if isinstance(content, str):
        return [content]
    return [part.get("text") for part in _items(content) if isinstance(part, Mapping)]
