"""Reading a stream of server-sent events as it passes: what the scheduler needs, at the cost of a few searches.

Chunks are looked into only where they may hold something: until the first token, and where a byte search finds a
usage, a tool call, an error or the end. What these look like is the protocol's (`protocols/`).
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Protocol

from agentserve.gateway.answer import BadAnswerError
from scheduler.types import Tokens, Usage

MAX_EVENT = 8 * 1024 * 1024
"""Bytes without the end of an event after which an engine is taken to send something else."""

_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n)", re.DOTALL)
_DATA = re.compile(rb"^data:[ ]?(.*?)\r?$", re.MULTILINE)
_FIELDS = (b":", b"event:", b"id:", b"retry:", b"\r\n", b"\n")
_DONE = b"[DONE]"


class ToolCalls(Protocol):
    """Collects the tools that a stream calls (`tools.calls`)."""

    def text(self, piece: object) -> None:
        """Reads a piece of the answer's text."""
        ...

    def tools(self) -> tuple[str, ...]:
        """The tools called so far."""
        ...


class StreamReader(ABC):
    """Takes the bytes of one stream and gives back what goes to the client: whole events, unchanged."""

    telling: ClassVar[tuple[bytes, ...]]
    """What an event that has to be read closely contains."""
    token: ClassVar[bytes]
    """What every event with output contains once."""
    text: ClassVar[re.Pattern[bytes]]
    """Finds the text in the events of a token."""

    def __init__(self, calls: ToolCalls, reads_text: bool) -> None:
        """`reads_text`: look for a bash block in the text, which costs a little more a chunk."""
        self.started = False
        """The first token is there."""
        self.done = False
        """The stream came to its proper end."""
        self.tokens: Tokens = 0
        """Events with content so far: the output tokens, or a little less."""
        self.usage: Usage | None = None
        self.response = ""
        """The id by which a later call may refer to this answer, where the protocol has such."""
        self.error = ""
        """What the engine's error event said."""
        self.error_status = 500
        """The HTTP status that event would have had."""
        self._calls = calls
        self._reads_text = reads_text
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
        if data.endswith(b"\n\n"):
            self._rest = b""
            if self.started and not self._reads_text:  # nearly every chunk, so without a further call
                for mark in self.telling:
                    if mark in data:
                        return self._read(data)
                self.tokens += data.count(self.token)
                return data
            return self._read(data)
        end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\r\n\r\n") + 4)
        if end < 4:
            end = 0
        self._rest = data[end:]
        if len(self._rest) > MAX_EVENT:
            raise BadAnswerError(f"it sent more than {MAX_EVENT} bytes without the end of an event")
        return self._read(data[:end]) if end else b""

    @abstractmethod
    def _read_payload(self, payload: Mapping[str, object]) -> bool:
        """Reads the JSON of one event, and says whether the client gets the event."""

    def _note_error(self, message: object, status: object) -> None:
        self.error = str(message)
        if isinstance(status, int):
            self.error_status = status

    def _read(self, events: bytes) -> bytes:
        if self.started and not self._tells(events):
            self._count(events)
            return events
        return b"".join(event for event in _split(events) if self._goes_on(event))

    def _goes_on(self, event: bytes) -> bool:
        """Reads one event, closely if it may hold something, and says whether the client gets it."""
        if self.started and not self._tells(event):
            self._count(event)
            return True
        return self._read_event(event)

    def _tells(self, events: bytes) -> bool:
        for mark in self.telling:  # noqa: SIM110  (`any` with a generator costs four times as much)
            if mark in events:
                return True
        return False

    def _count(self, events: bytes) -> None:
        """Takes events that hold nothing but output."""
        self.tokens += events.count(self.token)
        if self._reads_text:
            for text in self.text.findall(events):
                self._calls.text(_unescaped(text))

    def _read_event(self, event: bytes) -> bool:
        data = b"\n".join(_DATA.findall(event))
        if not data:
            if not event.startswith(_FIELDS):
                raise BadAnswerError(f"it sent something that is no event: {event[:100]!r}")
            return True
        if data == _DONE:
            self.done = True
            return True
        return self._read_payload(_parse(data))


def _parse(data: bytes) -> Mapping[str, object]:
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise BadAnswerError(f"it sent an event that is no JSON object: {data[:100]!r}")
    return payload


def _split(events: bytes) -> Iterator[bytes]:
    """The events, each with its end."""
    if b"\r\n\r\n" in events:
        return (match.group() for match in _EVENT.finditer(events))
    return (event + b"\n\n" for event in events.split(b"\n\n")[:-1])


def _unescaped(text: bytes) -> object:
    try:
        return json.loads(b'"%b"' % text) if b"\\" in text else text.decode()
    except ValueError:
        return None
