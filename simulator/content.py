"""What a context holds, as the chained hashes of its blocks by which prefixes are recognised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from scheduler.types import Tokens


class Extent(NamedTuple):
    """A run of tokens: the first `length` tokens of the content that `content` stands for."""

    content: int
    length: Tokens


def block_hashes(extents: Iterable[Extent], block_size: Tokens) -> tuple[int, ...]:
    """The chained hash of every full block of a context made of `extents`, one behind the other.

    Two contexts share a block if all their tokens up to the block's end are the same parts of the same contents. The
    hashes are the same in every process.
    """
    hashes: list[int] = []
    chain, block = 0, []
    for piece in _pieces(extents, block_size):
        block.append(piece)
        if sum(length for _, _, length in block) == block_size:
            chain = hash((chain, *block))
            hashes.append(chain)
            block = []
    return tuple(hashes)


def _pieces(extents: Iterable[Extent], block_size: Tokens) -> Iterator[tuple[int, Tokens, Tokens]]:
    """The extents cut at block boundaries: content, where in it the piece starts, length."""
    filled = 0
    for content, length in extents:
        start = 0
        while start < length:
            size = min(length - start, block_size - filled)
            yield content, start, size
            start += size
            filled = (filled + size) % block_size
