"""vLLM's block pool, one object a block, and the plugin's ownership in the place where vLLM asks it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from agentserve.vllm_plugin.retention import Retention
from scheduler.types import Tokens
from simulator.content import Extent


@dataclass(eq=False, slots=True)
class Block:
    """One block. `content` is the chained hash of its tokens once all of them are known."""

    id: int
    content: int | None = None
    filled: int = 0
    """Which filling this is: what is computed again in the same block is not what was there."""
    users: int = 0
    weight: int = 1
    """0 for one that takes no memory, because of the model's footprint."""


class BlockPool:
    """A fixed number of blocks, each in use, free, or free and held for a pin."""

    def __init__(self, size: int) -> None:
        self.blocks = [Block(index) for index in range(size)]
        self.retention = Retention(self, size)
        self._line = OrderedDict((block, None) for block in self.blocks)
        self._held: set[Block] = set()
        self._cached: dict[int, dict[Block, None]] = {}
        self._fillings = count(1)

    @property
    def free(self) -> int:
        return self.takeable + sum(block.weight for block in self._held)

    @property
    def takeable(self) -> int:
        return sum(block.weight for block in self._line)

    def find(self, contents: Sequence[int]) -> list[Block]:
        found: list[Block] = []
        for content in contents:
            holders = self._cached.get(content)
            if not holders:
                break
            found.append(next(iter(holders)))
        return found

    def use(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            if not block.users:
                if self.retention.ownership.referenced(block.id):
                    self._held.remove(block)
                else:
                    del self._line[block]
            block.users += 1

    def take(self, weights: Sequence[int]) -> list[Block]:
        self.retention.make_room(max(0, sum(weights) - self.takeable))
        return [self._take() if weight else self._make() for weight in weights]

    def fill(self, block: Block, content: int) -> None:
        block.content = content
        block.filled = next(self._fillings)
        self._cached.setdefault(content, {})[block] = None

    def leave(self, table: Sequence[Block]) -> None:
        for block in reversed(table):
            block.users -= 1
            if not block.users:
                self._list(block)

    def _take(self) -> Block:
        while True:
            block, _ = self._line.popitem(last=False)
            if block.content is not None:
                del self._cached[block.content][block]
                block.content = None
            if block.weight:
                block.users = 1
                return block

    def _make(self) -> Block:
        block = Block(len(self.blocks), users=1, weight=0)
        self.blocks.append(block)
        return block

    def _list(self, block: Block) -> None:
        if self.retention.ownership.freed(block.id):
            self._held.add(block)
            return
        if block.content is None and not block.weight:
            return
        self._line[block] = None
        if block.content is None:
            self._line.move_to_end(block, last=False)

    # --- what the plugin asks of the engine's blocks ----------------------------------------------------------------

    def hash_of(self, block: int) -> bytes | None:
        found = self.blocks[block]
        return None if found.content is None else f"{found.content} {found.filled}".encode()

    def is_free(self, block: int) -> bool:
        return not self.blocks[block].users

    def hold(self, block: int) -> None:
        del self._line[self.blocks[block]]
        self._held.add(self.blocks[block])

    def release(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            self._held.remove(self.blocks[block])
            self._line[self.blocks[block]] = None


def block_hashes(extents: Iterable[Extent], block_size: Tokens) -> tuple[int, ...]:
    """The chained hash of every full block of a context made of `extents`."""
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
