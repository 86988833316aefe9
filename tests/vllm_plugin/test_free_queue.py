"""The free list under vLLM's real block pool, for what its scheduler does only with KV connectors."""

from __future__ import annotations

from typing import Any

import pytest
from vllm.v1.core.block_pool import BlockPool

from agentserve.vllm_plugin.free_queue import RetainingQueue
from agentserve.vllm_plugin.ownership import ContextBlock
from agentserve.vllm_plugin.ticket import Ticket

BLOCKS = 8


@pytest.fixture
def pool() -> Any:
    pool = BlockPool(BLOCKS + 1, enable_caching=True, hash_block_size=16)
    pool.free_block_queue = RetainingQueue(pool)
    return pool


def pinned(pool: Any, count: int) -> list[Any]:
    """Blocks that a pin owns and a call still references."""
    blocks: list[Any] = pool.get_new_blocks(count)
    for number, block in enumerate(blocks):
        pool._insert_block_hash(bytes([number]) * 36, block, num_tokens=16)
    retention = pool.free_block_queue.retention
    retention.enter("call", Ticket("agent", 1, 60), now=0)
    context = tuple(ContextBlock(block.block_id, block.block_hash, 16) for block in blocks)
    retention.leave("call", context, finished=True, now=0)
    return blocks


def test_blocks_are_taken_over_in_their_order(pool: Any) -> None:
    assert [block.block_id for block in pool.free_block_queue.get_all_free_blocks()] == list(range(1, BLOCKS + 1))


def test_deferred_blocks_are_held_once_they_are_freed(pool: Any) -> None:
    blocks = pinned(pool, 3)
    ownership = pool.free_block_queue.retention.ownership
    assert (ownership.held_blocks, pool.get_num_free_blocks()) == (0, BLOCKS - 3)
    pool.free_blocks(reversed(blocks))
    assert (ownership.held_blocks, pool.get_num_free_blocks()) == (3, BLOCKS)


def test_a_block_whose_content_was_discarded_is_no_longer_protected(pool: Any) -> None:
    blocks = pinned(pool, 3)
    pool.evict_blocks({blocks[2].block_id})
    pool.free_blocks(reversed(blocks))
    retention = pool.free_block_queue.retention
    assert (retention.ownership.held_blocks, retention.pins["agent"].tokens) == (2, 32)
    assert pool.get_num_free_blocks() == BLOCKS
    assert pool.get_new_blocks(1) == [blocks[2]]


def test_all_blocks_can_be_taken_while_some_are_held(pool: Any) -> None:
    pool.free_blocks(reversed(pinned(pool, 3)))
    taken = pool.get_new_blocks(BLOCKS)
    assert sorted(block.block_id for block in taken) == list(range(1, BLOCKS + 1))
    assert pool.get_num_free_blocks() == 0


def test_the_single_block_door_breaks_pins_too(pool: Any) -> None:
    blocks = pinned(pool, BLOCKS)
    pool.free_blocks(reversed(blocks))
    assert pool.free_block_queue.popleft() is blocks[-1]
