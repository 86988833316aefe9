"""Prompts as an engine and a gateway tell them apart: the pieces of their content, and marks along their bytes."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from scheduler.types import PrefixMark, Tokens
from simulator.content import Extent

_SHARED = 1 << 63
"""Set in the names of shared contents, and in no other."""


class Prompt(NamedTuple):
    """A context: one extent and one mark a message."""

    tokens: Tokens
    size: float
    """Bytes."""
    content: tuple[Extent, ...]
    marks: tuple[PrefixMark, ...]

    def then(self, content: int, tokens: Tokens, bytes_per_token: float) -> Prompt:
        """The context with one more message."""
        size = self.size + tokens * bytes_per_token
        before = self.marks[-1].hash if self.marks else 0
        mark = PrefixMark(hash((before, content, tokens)), int(size))
        return Prompt(self.tokens + tokens, size, (*self.content, Extent(content, tokens)), (*self.marks, mark))


EMPTY = Prompt(0, 0.0, (), ())


@lru_cache(maxsize=65_536)
def shared_content(name: str) -> int:
    """The content of a text that programs share, the same in every process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) | _SHARED
