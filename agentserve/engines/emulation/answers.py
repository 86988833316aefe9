"""What the emulated engine answers, token by token; `wires` gives it the shapes of vLLM's APIs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from agentserve.engines.emulation.text import filler, tokenize
from scheduler.types import Tokens


@dataclass(frozen=True, slots=True)
class Answer:
    """The text of an answer, or the one tool call it consists of, with one piece for every output token."""

    pieces: Sequence[str]
    tool: str | None = None

    @property
    def tokens(self) -> list[bytes]:
        """Its tokens, as they will stand in the prompt of the program's next call."""
        return tokenize([*([self.tool] if self.tool is not None else []), self.text])

    @property
    def text(self) -> str:
        """The whole text, or the call's arguments."""
        return "".join(self.pieces)


def words(count: Tokens, seed: str) -> Answer:
    """An answer of `count` tokens of filler."""
    return Answer(filler(count, seed))


def call(tool: str, count: Tokens, seed: str) -> Answer:
    """A call of the tool, of about `count` tokens: valid arguments come before the exact number."""
    overhead = len(tokenize([tool, '{"input": ""}']))
    arguments = json.dumps({"input": "".join(filler(max(1, count - overhead), seed))})
    name = [""] * len(tokenize([tool]))
    return Answer([*name, *(piece.decode() for piece in tokenize([arguments]))], tool)
