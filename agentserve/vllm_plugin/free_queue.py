"""vLLM's list of free blocks, with the protected ones beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_utils import FreeKVCacheBlockQueue, KVCacheBlock

from agentserve.vllm_plugin.retention import Retention


class RetainingQueue(FreeKVCacheBlockQueue):
    """A free list whose protected blocks go last.

    Held blocks count in `num_free_blocks`, as they do in vLLM, but stand outside the linked list until pins break.
    """

    def __init__(self, pool: BlockPool) -> None:
        """Takes over the blocks of the pool's own free list, in their order."""
        super().__init__([])
        self._blocks: list[KVCacheBlock] = pool.blocks
        self._shielded = 0
        self.retention = Retention(self, len(pool.blocks))
        stock = pool.free_block_queue
        self.append_n(stock.popleft_n(stock.num_free_blocks))

    @contextmanager
    def shielding(self, count: int) -> Iterator[None]:
        """Meanwhile, `count` of the held blocks do not count as free."""
        self._shielded = count
        self.num_free_blocks -= count
        try:
            yield
        finally:
            self.num_free_blocks += count
            self._shielded = 0

    def popleft(self) -> KVCacheBlock:
        """Takes the free block that is evicted first."""
        self._list(1)
        return super().popleft()

    def popleft_n(self, n: int) -> list[KVCacheBlock]:
        """Takes the `n` free blocks that are evicted first, breaking pins if need be."""
        self._list(n)
        return super().popleft_n(n)

    def remove(self, block: KVCacheBlock) -> None:
        """A free block is referenced again."""
        if self.retention.ownership.referenced(block.block_id):
            self.num_free_blocks -= 1
        else:
            super().remove(block)

    def append_n(self, blocks: list[KVCacheBlock]) -> None:
        """Blocks whose content may be found again have become free; those that pins own are held."""
        ownership = self.retention.ownership
        if not ownership:
            super().append_n(blocks)
            return
        plain = [block for block in blocks if not ownership.freed(block.block_id)]
        super().append_n(plain)
        self.num_free_blocks += len(blocks) - len(plain)

    def prepend_n(self, blocks: list[KVCacheBlock]) -> None:
        """Blocks in which nothing can be found have become free."""
        ownership = self.retention.ownership
        if ownership:
            for block in blocks:
                ownership.forget(block.block_id)
        super().prepend_n(blocks)

    def hash_of(self, block: int) -> bytes | None:
        """The hash of what the block holds now; None if nothing can be found in it."""
        found: bytes | None = self._blocks[block].block_hash
        return found

    def is_free(self, block: int) -> bool:
        """Whether no request references the block."""
        return bool(self._blocks[block].ref_cnt == 0)

    def hold(self, block: int) -> None:
        """Takes a free block out of the linked list; it still counts as free."""
        super().remove(self._blocks[block])
        self.num_free_blocks += 1

    def release(self, blocks: Sequence[int]) -> None:
        """Puts held blocks at the end of the linked list."""
        super().append_n([self._blocks[block] for block in blocks])
        self.num_free_blocks -= len(blocks)

    def _list(self, count: int) -> None:
        """Breaks pins until the linked list has `count` blocks."""
        held = self.retention.ownership.held_blocks
        if held:
            listed = self.num_free_blocks + self._shielded - held
            self.retention.make_room(max(0, count - listed))
