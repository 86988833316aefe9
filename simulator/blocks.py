"""The engine's paged KV memory: blocks, what they hold, and the order in which free ones are taken.

This is vLLM's block pool. A free block keeps its content until it is taken. Blocks without content are taken first,
then those with content in the order they became free (a request frees its last block first). Free blocks that pins
own stand beside this line, and join its end when the last owner gives them up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Block:
    """One block. `content` is the chained hash of its tokens once all of them are known."""

    id: int
    content: int | None = None
    users: int = 0
    owners: set[str] = field(default_factory=set)
    """The programs whose pins hold it."""


class BlockPool:
    """A fixed number of blocks, each in use, free, or free and owned."""

    def __init__(self, size: int) -> None:
        self.blocks = [Block(index) for index in range(size)]
        self._line = OrderedDict((block, None) for block in self.blocks)
        self._owned: dict[Block, None] = {}
        self._cached: dict[int, dict[Block, None]] = {}

    @property
    def takeable(self) -> int:
        """Free blocks that no pin owns."""
        return len(self._line)

    @property
    def free(self) -> int:
        """All blocks that no request uses, owned ones included: what vLLM calls free."""
        return len(self._line) + len(self._owned)

    @property
    def owned(self) -> Collection[Block]:
        """The free blocks that pins own."""
        return self._owned

    def find(self, contents: Sequence[int]) -> list[Block]:
        """The blocks that hold the longest prefix of `contents` there is."""
        found: list[Block] = []
        for content in contents:
            holders = self._cached.get(content)
            if not holders:
                break
            found.append(next(iter(holders)))
        return found

    def use(self, blocks: Iterable[Block]) -> None:
        """One more request uses the blocks."""
        for block in blocks:
            if not block.users:
                self._unlist(block)
            block.users += 1

    def take(self, count: int) -> list[Block]:
        """`count` of the takeable blocks, empty and in use; the content they had is lost."""
        return [self._take() for _ in range(count)]

    def fill(self, block: Block, content: int) -> None:
        """The block's tokens are all known now: it can serve other requests with the same prefix."""
        block.content = content
        self._cached.setdefault(content, {})[block] = None

    def leave(self, table: Sequence[Block]) -> None:
        """A request no longer uses its blocks, given in the order of its context."""
        for block in reversed(table):
            block.users -= 1
            if not block.users:
                self._list(block)

    def own(self, block: Block, program: str) -> None:
        """The program's pin holds the block."""
        if not block.users:
            self._unlist(block)
        block.owners.add(program)
        if not block.users:
            self._list(block)

    def disown(self, block: Block, program: str) -> None:
        """The program's pin gives the block up."""
        block.owners.remove(program)
        if not block.users and not block.owners:
            del self._owned[block]
            self._list(block)

    def faults(self) -> Iterator[str]:
        """What is wrong with the pool: every block has to be where its users, owners and content call for."""
        for block in self.blocks:
            places = (block in self._line, block in self._owned)
            if places != (not block.users and not block.owners, not block.users and bool(block.owners)):
                yield f"block {block.id} has {block.users} users and owners {block.owners}, but is in {places}"
            if block.content is not None and block not in self._cached.get(block.content, {}):
                yield f"block {block.id} has content that cannot be found"
        if sum(map(len, self._cached.values())) != sum(block.content is not None for block in self.blocks):
            yield "the prefix cache lists blocks that were taken"

    def _take(self) -> Block:
        block, _ = self._line.popitem(last=False)
        if block.content is not None:
            holders = self._cached[block.content]
            del holders[block]
            if not holders:
                del self._cached[block.content]
            block.content = None
        block.users = 1
        return block

    def _list(self, block: Block) -> None:
        if block.owners:
            self._owned[block] = None
        else:
            self._line[block] = None
            if block.content is None:
                self._line.move_to_end(block, last=False)

    def _unlist(self, block: Block) -> None:
        if block.owners:
            del self._owned[block]
        else:
            del self._line[block]
