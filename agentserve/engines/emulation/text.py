"""Text as the emulated engine counts it: a token is at most four bytes, and no token spans two segments.

A prompt is rendered to segments (a message's role, its text, a call's name and arguments), each of which is cut into
tokens on its own. So a history that grows by whole messages has the same tokens each time, and shares its blocks.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from scheduler.types import Tokens
from simulator.content import Extent

TOKEN_BYTES = 4

_TEXT = (
    "the and for you not are but all any can had her was one our out day get has him his how man new now old see two "
    "way who boy did its let put say she too use air arm art ask bag bed big box bus buy car cat cow cut dog"
)
_WORDS = _TEXT.split()


def tokenize(segments: Iterable[str]) -> list[bytes]:
    """The tokens of a text that is given in segments."""
    encoded = (segment.encode("utf-8", "surrogatepass") for segment in segments)
    return [data[start : start + TOKEN_BYTES] for data in encoded for start in range(0, len(data), TOKEN_BYTES)]


def extents(tokens: Sequence[bytes], size: Tokens, weights: int = 0) -> tuple[Extent, ...]:
    """The content of a text, in chunks of `size` tokens: two texts share the chunks that are equal, if the same weights
    read them.
    """
    chunks = (tokens[start : start + size] for start in range(0, len(tokens), size))
    return tuple(Extent(_fingerprint(chunk, weights), len(chunk)) for chunk in chunks)


def _fingerprint(tokens: Sequence[bytes], weights: int) -> int:
    text = b"".join(token.ljust(TOKEN_BYTES + 1, b"\0") for token in tokens)
    return int.from_bytes(blake2b(text, digest_size=8, salt=weights.to_bytes(8)).digest())


def filler(count: Tokens, seed: str) -> list[str]:
    """Words that make up exactly `count` tokens, one a piece; the same for the same seed."""
    words = random.Random(seed).choices(_WORDS, k=count)
    return [*(f"{word} " for word in words[:-1]), f"{words[-1]}."]
