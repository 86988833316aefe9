"""A few seconds of what `make soak` does for minutes."""

from __future__ import annotations

from tests.benchmarks.soak import soak


async def test_mixed_traffic_with_engines_that_die_leaks_nothing_and_answers_right() -> None:
    tally = await soak(seconds=3.0, clients=4, kill_s=1.0)
    assert not tally.wrong, tally.wrong[:3]
    assert (tally.leaked_calls, tally.leaked_tokens) == (0, 0)
    assert tally.deaths
    assert tally.outcomes["stream: right"]
    assert tally.outcomes["garbage: right"]
