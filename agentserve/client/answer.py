"""A chat completion, whole or as a stream of text."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import httpx

from agentserve.client.errors import AgentserveError, refused


class Answer(dict[str, Any]):
    """A chat completion's JSON, with what the gateway and the clock say of it.

    Attributes:
        seconds: from sending the call to the end of its answer, pauses before a further attempt included.
        engine: the name of the engine that answered; None if no agentserve gateway did.
        queue_seconds: how long the gateway held the call back before it sent it on; None as for `engine`.
    """

    __slots__ = ("engine", "queue_seconds", "seconds")

    def __init__(self, fields: Mapping[str, Any], seconds: float, headers: Mapping[str, str]) -> None:
        super().__init__(fields)
        self.seconds = seconds
        self.engine = headers.get("x-agentserve-engine")
        queue = headers.get("x-agentserve-queue-ms", "")
        self.queue_seconds = int(queue) / 1000 if queue.isdecimal() else None

    @property
    def text(self) -> str:
        """The first choice's text; empty if it has none."""
        return str(self["choices"][0]["message"].get("content") or "")


def read_answer(response: httpx.Response, began: float) -> Answer:
    """The answer to a call that was begun at that time of the monotonic clock.

    Raises:
        AgentserveError: it is an error, or no JSON.
    """
    if response.is_error:
        raise refused(response)
    try:
        fields: dict[str, Any] = response.json()
    except ValueError:
        raise refused(response) from None
    return Answer(fields, time.monotonic() - began, response.headers)


class TextStream:
    """Reads the lines of a streamed chat completion."""

    def __init__(self) -> None:
        self.done = False

    def feed(self, line: str) -> str:
        """The text that a line of the stream brings; empty for lines that bring none.

        Raises:
            AgentserveError: it tells an error.
        """
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or self.done:
            return ""
        if data == "[DONE]":
            self.done = True
            return ""
        try:
            event = json.loads(data)
        except ValueError:
            raise AgentserveError(f"the stream has a line that is no JSON: {data[:200]}") from None
        if "error" in event:
            raise AgentserveError(str(event["error"].get("message", event["error"])))
        return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ())[:1])

    def end(self) -> None:
        """The stream is over.

        Raises:
            AgentserveError: it was not complete.
        """
        if not self.done:
            raise AgentserveError("the stream broke off before the answer was complete")
