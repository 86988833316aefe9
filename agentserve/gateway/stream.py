"""Reading a stream of server-sent events as it passes: what the scheduler needs, at the cost of a few searches.

Chunks are looked into only where they may hold something: until the first token, and where a byte search finds a
usage, a tool call, an error or the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from agentserve.gateway.answer import BadAnswerError, read_usage
from scheduler.types import Tokens, Usage
from tools.calls import OpenAICalls

MAX_EVENT = 8 * 1024 * 1024
"""Bytes without the end of an event after which an engine is taken to send something else."""

_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n)", re.DOTALL)
_DATA = re.compile(rb"^data:[ ]?(.*?)\r?$", re.MULTILINE)
_TEXT = re.compile(rb'"(?:content|text)":\s?"((?:[^"\\]|\\.)*)"')
_FIELDS = (b":", b"event:", b"id:", b"retry:", b"\r\n", b"\n")
_DONE = b"[DONE]"
_TOKEN_FIELDS = ("content", "reasoning", "reasoning_content", "tool_calls", "function_call", "refusal")


class StreamReader:
    """Takes the bytes of one stream and gives back what goes to the client: whole events, unchanged.

    The event that holds nothing but the usage is left out where the client has not asked for it.
    """

    def __init__(self, wants_usage: bool, reads_text: bool) -> None:
        """`reads_text`: look for a bash block in the text, which costs a little more a chunk."""
        self.started = False
        """The first token is there."""
        self.done = False
        """The stream came to its proper end."""
        self.tokens: Tokens = 0
        """Events with content so far: the output tokens, or a little less."""
        self.usage: Usage | None = None
        self.error = ""
        """What the engine's error event said."""
        self.error_status = 500
        """The HTTP status that event would have had."""
        self._wants_usage = wants_usage
        self._reads_text = reads_text
        self._calls = OpenAICalls()
        self._rest = b""

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools called so far."""
        return self._calls.tools()

    def feed(self, chunk: bytes) -> bytes:
        """Reads a chunk; an event's beginning is kept back until its end is there.

        Raises:
            BadAnswerError: these are no events of the API.
        """
        data = self._rest + chunk if self._rest else chunk
        end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\r\n\r\n") + 4)
        if end < 4:
            end = 0
        self._rest = data[end:]
        if len(self._rest) > MAX_EVENT:
            raise BadAnswerError(f"it sent more than {MAX_EVENT} bytes without the end of an event")
        return self._read(data[:end]) if end else b""

    def _read(self, events: bytes) -> bytes:
        if not self.started or _needs_reading(events):
            return b"".join(event for event in _split(events) if self._read_event(event))
        self.tokens += events.count(b"data:")
        if self._reads_text:
            for text in _TEXT.findall(events):
                self._calls.text(_unescaped(text))
        return events

    def _read_event(self, event: bytes) -> bool:
        """Reads one event closely, and says whether the client gets it."""
        data = b"\n".join(_DATA.findall(event))
        if not data:
            if not event.startswith(_FIELDS):
                raise BadAnswerError(f"it sent something that is no event: {event[:100]!r}")
            return True
        if data == _DONE:
            self.done = True
            return True
        payload = self._parse(data)
        if (error := payload.get("error")) is not None:
            self._read_error(error)
        choices = payload.get("choices")
        if isinstance(choices, list) and choices:
            self._read_choices(choices)
        usage = payload.get("usage")
        self.usage = read_usage(usage) or self.usage
        return self._wants_usage or bool(choices) or not usage

    def _parse(self, data: bytes) -> Mapping[str, object]:
        try:
            payload = json.loads(data)
        except (ValueError, RecursionError):
            payload = None
        if not isinstance(payload, dict):
            raise BadAnswerError(f"it sent an event that is no JSON object: {data[:100]!r}")
        return payload

    def _read_error(self, error: object) -> None:
        fields = error if isinstance(error, Mapping) else {}
        self.error = str(fields.get("message", error))
        code = fields.get("code")
        if isinstance(code, int):
            self.error_status = code

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
                self._calls.text(text)
                self._calls.feed(delta)


def _needs_reading(events: bytes) -> bool:
    return (
        b'"usage"' in events
        or b"[DONE]" in events
        or b'"tool_calls"' in events
        or b'"error"' in events
        or b'"function_call"' in events
    )


def _split(events: bytes) -> Iterator[bytes]:
    return (match.group() for match in _EVENT.finditer(events))


def _unescaped(text: bytes) -> object:
    try:
        return json.loads(b'"%b"' % text) if b"\\" in text else text.decode()
    except ValueError:
        return None
