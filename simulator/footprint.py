"""How much KV memory a context takes, by its length and the model's kinds of attention."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import ceil

from scheduler.types import Tokens


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory by place in the context: its first `window` tokens take all of theirs, of those after them the layers
    with full attention take their share. `Footprint()` is full attention, `Footprint(0, 4096)` a sliding window in
    every layer, `Footprint(1 / 6, 1024)` five such layers for each with full attention.

    An approximation. It keeps right how much memory a context takes, of a request that runs as in a gap. In truth
    windows slide: the layers that have one keep the last tokens, not the first. So it does not keep right which
    prefixes are there: here one that lost its end is good up to that end, in truth only if the window before that is
    there too; and two contexts with the same long prefix share a window here, in truth each has its own.
    """

    full_share: float = 1.0
    """Of the memory that a token takes in all layers, the part in layers with full attention."""
    window: Tokens = 0

    def __post_init__(self) -> None:
        if not 0 <= self.full_share <= 1 or self.window < 0:
            raise ValueError("a footprint's share of full attention is from 0 to 1, and its window at least 0")
        if not self.full_share and not self.window:
            raise ValueError("a footprint without full attention has a window")

    def blocks(self, count: int, block_size: Tokens) -> int:
        """The blocks of memory that the first `count` blocks of a context take; one more takes at most one more."""
        if self.full_share == 1:
            return count
        near = min(count, -(-self.window // block_size))
        return near + ceil(self.full_share * (count - near))

    def reach(self, memory: int, block_size: Tokens, limit: int) -> int:
        """How many blocks of a context, of at most `limit`, take no more than `memory` blocks."""
        if self.full_share == 1:
            return min(memory, limit)
        return bisect_right(range(limit + 1), memory, key=lambda count: self.blocks(count, block_size)) - 1


FULL_ATTENTION = Footprint()
