from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agentserve.vllm_plugin.context import context_of


def manager(*groups: tuple[int, list[bytes | None]]) -> Any:
    """A KV cache manager with one request; each group has a block size and the hashes of the request's blocks."""
    blocks: list[SimpleNamespace] = []
    held: list[list[SimpleNamespace]] = []
    for _, hashes in groups:
        mine = [SimpleNamespace(block_id=len(blocks) + index, block_hash=hash_) for index, hash_ in enumerate(hashes)]
        blocks += mine
        held.append(mine)
    return SimpleNamespace(
        block_pool=SimpleNamespace(blocks=blocks),
        coordinator=SimpleNamespace(single_type_managers=[SimpleNamespace(block_size=size) for size, _ in groups]),
        get_blocks=lambda request: SimpleNamespace(blocks=tuple(held)),
    )


def test_only_full_blocks_count() -> None:
    assert context_of(manager((16, [b"a", b"b", None])), "r") == ((0, b"a", 16), (1, b"b", 16))


def test_a_request_without_blocks_has_no_context() -> None:
    assert context_of(manager((16, [])), "r") == ()


def test_groups_are_woven_by_position_and_tokens_are_counted_once() -> None:
    """A sliding window keeps only the end of the context; its blocks go with the full blocks they end beside."""
    context = context_of(manager((16, [None, None, b"y", b"z"]), (32, [b"A", b"B"])), "r")
    assert [(block.hash, block.tokens) for block in context] == [(b"A", 32), (b"y", 0), (b"B", 32), (b"z", 0)]


def test_blocks_of_another_pool_are_left_alone() -> None:
    host = manager((16, [b"a", b"b"]))
    host.block_pool.blocks[0] = SimpleNamespace(block_id=0, block_hash=b"a")
    assert [block.hash for block in context_of(host, "r")] == [b"b"]
