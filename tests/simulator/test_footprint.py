"""What a context takes of an engine's memory, by the model's kinds of attention."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.engine import EngineConfig
from simulator.footprint import Footprint
from tests.simulator.driver import Drive, request

CONFIG = EngineConfig(num_blocks=16, block_size=4, max_model_len=64, max_num_seqs=16, max_num_batched_tokens=64)
footprints = st.builds(Footprint, st.floats(0, 1), st.integers(1, 100))


def used_by(footprint: Footprint, prompt: int) -> int:
    """The blocks that a request with such a prompt holds while it runs."""
    drive = Drive(dataclasses.replace(CONFIG, footprint=footprint))
    drive.add(request("a", [(1, prompt)], output=2))
    drive.step()
    return CONFIG.num_blocks - drive.engine.free_blocks


@pytest.mark.parametrize(
    ("footprint", "blocks"),
    [
        (Footprint(), 12),
        (Footprint(0, 10), 3),
        (Footprint(0.25, 16), 4 + 2),
        (Footprint(1 / 6, 12), 3 + 2),
        (Footprint(0.5, 100), 12),
    ],
)
def test_a_request_holds_its_window_and_the_share_of_full_attention_in_what_follows(
    footprint: Footprint, blocks: int
) -> None:
    assert used_by(footprint, 48) == blocks


def test_contexts_longer_than_the_memory_fit_where_windows_slide() -> None:
    with pytest.raises(ValueError, match="max_model_len is 100 tokens, but the KV memory holds 64"):
        dataclasses.replace(CONFIG, max_model_len=100)
    drive = Drive(dataclasses.replace(CONFIG, max_model_len=100, footprint=Footprint(0.5, 16)))
    (output,) = drive.serve(request("a", [(1, 90)], output=5))
    assert output.finished
    assert drive.engine.free_blocks == 16


def test_what_takes_less_memory_serves_more_from_the_cache() -> None:
    cached = []
    for footprint in (Footprint(), Footprint(0.25, 8)):
        drive = Drive(dataclasses.replace(CONFIG, footprint=footprint))
        drive.serve(request("a", [(1, 40)]))
        drive.serve(request("b", [(2, 40)]))
        cached.append(drive.serve(request("a again", [(1, 40), (3, 4)]))[0].cached)
    assert cached == [24, 40]


@given(footprints, st.integers(1, 32), st.integers(0, 300))
def test_a_block_more_takes_at_most_a_block_more(footprint: Footprint, block_size: int, count: int) -> None:
    assert footprint.blocks(count + 1, block_size) - footprint.blocks(count, block_size) in (0, 1)


@given(footprints, st.integers(1, 32), st.integers(0, 300), st.integers(0, 300))
def test_what_is_within_reach_fits_and_no_more_does(
    footprint: Footprint, block_size: int, memory: int, limit: int
) -> None:
    reach = footprint.reach(memory, block_size, limit)
    assert footprint.blocks(reach, block_size) <= memory
    assert reach == limit or footprint.blocks(reach + 1, block_size) > memory


@pytest.mark.parametrize("bad", [(1.5, 1), (-0.1, 1), (0.5, -1), (0, 0)])
def test_a_footprint_that_no_model_has_is_refused(bad: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="footprint"):
        Footprint(*bad)
