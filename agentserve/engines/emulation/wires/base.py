"""One answer in the shape of one API."""

from __future__ import annotations

import json
from typing import Protocol

from pydantic import JsonValue

from scheduler.types import Usage

Json = dict[str, JsonValue]


class Wire(Protocol):
    """Events are whole server-sent events."""

    def opening(self, prompt: int) -> list[bytes]:
        """The events before the first token of an answer to a prompt of so many tokens."""
        ...

    def token(self, index: int) -> list[bytes]:
        """The events that carry the output token of that index."""
        ...

    def closing(self, spent: Usage) -> list[bytes]:
        """The events after the last token."""
        ...

    def whole(self, spent: Usage) -> Json:
        """The answer in one piece."""
        ...


def event(payload: Json, name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload)}\n\n".encode()
