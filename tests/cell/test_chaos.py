"""A smoke of `make chaos`: real processes, a real Redis server, and one kill under load."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.failover import Tally, play
from tests.cell.cluster import cluster


async def test_no_program_is_lost_when_the_brains_process_is_killed(tmp_path: Path) -> None:
    tally = Tally(seed=1)
    with cluster(tmp_path) as found:
        await play(found, tally, kills=1, programs=12, gap=1.0, most=60.0)
    assert not tally.wrong
    assert tally.kills == 1
    assert tally.programs >= 12
