"""Limits that our own lateness does not use up."""

from __future__ import annotations

import asyncio
import time

import pytest

from agentserve.engines.patience import BEATS, patience

LIMIT = 0.05


async def test_a_silence_longer_than_the_limit_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        async with patience(LIMIT):
            await asyncio.Event().wait()


async def test_what_takes_a_few_turns_is_waited_for_however_late_the_loop_turns() -> None:
    async with patience(LIMIT):
        for _ in range(BEATS - 2):
            time.sleep(2 * LIMIT / BEATS)  # noqa: ASYNC251 - this is the loop that is late
            await asyncio.sleep(0)


async def test_nothing_of_a_limit_stays_behind() -> None:
    async with patience(LIMIT):
        pass
    await asyncio.sleep(2 * LIMIT)
