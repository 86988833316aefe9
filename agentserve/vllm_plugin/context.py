"""What of a request's KV can be found again once the request has gone."""

from __future__ import annotations

from vllm.v1.core.kv_cache_manager import KVCacheManager

from agentserve.vllm_plugin.ownership import ContextBlock


def context_of(manager: KVCacheManager, request: str) -> tuple[ContextBlock, ...]:
    """The request's full, hashed blocks, head first.

    A model with several kinds of attention has a group of blocks for each kind. They are ordered by where in the
    context they end, and only those of the group that covers the most tokens stand for tokens.
    """
    blocks = manager.block_pool.blocks
    groups = []
    for group, held in zip(manager.coordinator.single_type_managers, manager.get_blocks(request).blocks, strict=True):
        # A block may belong to another pool, whose eviction is not ours.
        ends = [
            (number * group.block_size, ContextBlock(block.block_id, block.block_hash, group.block_size))
            for number, block in enumerate(held, 1)
            if block.block_hash is not None and blocks[block.block_id] is block
        ]
        groups.append(ends)
    if len(groups) == 1:
        return tuple(block for _, block in groups[0])
    widest = max(groups, key=lambda ends: sum(block.tokens for _, block in ends), default=[])
    others = [(end, block._replace(tokens=0)) for ends in groups if ends is not widest for end, block in ends]
    return tuple(block for _, block in sorted([*widest, *others], key=lambda item: item[0]))
