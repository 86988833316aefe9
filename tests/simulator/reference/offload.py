"""The offload tier, one entry a block."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.footprint import Footprint


class OffloadTier:
    def __init__(self, size: int, block_size: int, footprint: Footprint) -> None:
        self.size = size
        self._block_size = block_size
        self._footprint = footprint
        self._line: dict[int, int] = {}
        """The memory of each content, the least recently used first."""

    def find(self, contents: Sequence[int]) -> int:
        return next((index for index, content in enumerate(contents) if content not in self._line), len(contents))

    def store(self, contents: Sequence[int]) -> None:
        stored = contents[: self._footprint.reach(self.size, self._block_size, len(contents))]
        for content in stored[: self.find(stored)]:
            del self._line[content]
        weights = [weight(self._footprint, index, self._block_size) for index in range(len(stored))]
        while sum(self._line.values()) + sum(weights) > self.size:
            del self._line[next(iter(self._line))]
        self._line.update(reversed(list(zip(stored, weights, strict=True))))


def weight(footprint: Footprint, index: int, block_size: int) -> int:
    """The memory of a context's block of that number: one or none."""
    return footprint.blocks(index + 1, block_size) - footprint.blocks(index, block_size)
