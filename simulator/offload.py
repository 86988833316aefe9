"""The tier of CPU memory behind an engine's KV memory, from which contexts are loaded instead of computed again."""

from __future__ import annotations

from scheduler.types import Tokens
from simulator.blocks import BlockPool
from simulator.content import Context
from simulator.footprint import Footprint
from simulator.runs import Table


class OffloadTier:
    """Copies of the contexts that requests had, the least recently used forgotten first and of each its end first.

    Modelled after vLLM's CPU offloading with its LRU policy (`v1/kv_offload/cpu`), which copies what is computed at
    once and looks at recency when a request ends. Here copies are made then too, or when the request is preempted:
    until then the engine's own memory has them.
    """

    def __init__(self, size: int, block_size: Tokens, footprint: Footprint) -> None:
        self._pool = BlockPool(size, block_size, footprint)

    def find(self, context: Context, limit: int) -> int:
        """How many of the first `limit` blocks of the context can be loaded."""
        return self._pool.find(context, limit).blocks

    def store(self, context: Context, blocks: int) -> None:
        """Copies the first so many blocks of the context, as many of them as the tier has place for."""
        pool, table = self._pool, Table(context=context)
        match = pool.find(context, blocks)
        pool.adopt(table, match)
        taken = pool.memory(match.blocks)
        stored = pool.reach(taken + pool.free, blocks)
        pool.take(pool.memory(stored) - taken)
        table.base = stored * pool.block_size
        pool.extend(table, stored)
        pool.leave(table)
