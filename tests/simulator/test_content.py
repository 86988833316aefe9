from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from simulator.content import Extent, block_hashes

extents = st.lists(st.builds(Extent, st.integers(0, 2), st.integers(0, 12)), max_size=5)


def tokens(context: list[Extent]) -> list[tuple[int, int]]:
    return [(content, position) for content, length in context for position in range(length)]


@given(extents, extents, st.integers(1, 6))
def test_blocks_are_shared_exactly_as_far_as_tokens_are(one: list[Extent], two: list[Extent], size: int) -> None:
    for index, (left, right) in enumerate(zip(block_hashes(one, size), block_hashes(two, size), strict=False)):
        end = (index + 1) * size
        if left == right:
            assert tokens(one)[:end] == tokens(two)[:end]


@given(extents, extents, extents, st.integers(1, 6))
def test_a_common_history_is_a_common_prefix(
    history: list[Extent], one: list[Extent], two: list[Extent], size: int
) -> None:
    full = len(tokens(history)) // size
    assert block_hashes(history + one, size)[:full] == block_hashes(history + two, size)[:full]
    assert len(block_hashes(history, size)) == full


def test_a_longer_piece_of_the_same_content_extends_a_shorter_one() -> None:
    assert block_hashes([Extent(1, 9)], 4) == block_hashes([Extent(1, 100)], 4)[:2]


def test_hashes_are_the_same_in_every_process() -> None:
    code = "from simulator.content import Extent, block_hashes; print(block_hashes([Extent(1, 5), Extent(2, 9)], 4))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert runs == {f"{block_hashes([Extent(1, 5), Extent(2, 9)], 4)}\n".encode()}
