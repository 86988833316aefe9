"""The tokens of a streamed completion, with their log-probabilities, taken as they come."""

from __future__ import annotations

import json
from typing import Any


class TokenReader:
    """Reads the events of a stream of plain completions with `return_token_ids` and `logprobs`."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.logprobs: list[float | None] = []
        """One for each of `ids`."""
        self.text: list[str] = []
        self.finish = ""
        """Why the answer ended; empty while it has not."""
        self.error = ""
        """What an error event said."""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Takes the next bytes, which may end anywhere."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                self._read(json.loads(line[6:]))

    def _read(self, event: dict[str, Any]) -> None:
        if "error" in event:
            error = event["error"]
            self.error = str(error.get("message", error) if isinstance(error, dict) else error)
        for choice in event.get("choices", ()):
            ids = choice.get("token_ids") or []
            told = (choice.get("logprobs") or {}).get("token_logprobs") or []
            self.ids += ids
            self.logprobs += [*told, *[None] * (len(ids) - len(told))][: len(ids)]
            self.text.append(choice.get("text") or "")
            self.finish = choice.get("finish_reason") or self.finish
