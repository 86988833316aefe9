from __future__ import annotations

import asyncio

from tests.gateway.rollouts.field import field
from tests.gateway.world import eventually

LONG = 200


async def test_samples_that_are_kept_go_on_from_where_they_were() -> None:
    async with field(speed=5.0) as trainer:
        writing = asyncio.create_task(trainer.group(n=2, max_tokens=LONG))
        await trainer.until_writing()
        assert await trainer.ordered("pause", mode="keep") == {"paused": True, "running": 0}
        assert (await trainer.status())["writing"] == 2
        await eventually(lambda: trainer.brain.waiting == 2, "both samples in line")
        await trainer.ordered("resume")
        for sample in (await writing)["samples"]:
            assert sample["segments"] == [{"version": 0, "engine": "a", "start": 0, "end": LONG}]
            assert len(sample["token_ids"]) == LONG


async def test_samples_that_are_aborted_by_a_pause_end_with_what_they_have() -> None:
    async with field(speed=5.0) as trainer:
        writing = asyncio.create_task(trainer.group(n=2, max_tokens=LONG))
        await trainer.until_writing()
        await trainer.ordered("pause", mode="abort")
        for sample in (await writing)["samples"]:
            assert sample["finish_reason"] == "abort"
            assert len(sample["token_ids"]) == len(sample["logprobs"]) == sample["segments"][-1]["end"] < LONG


async def test_a_pause_that_waits_lets_samples_end_and_begins_none() -> None:
    async with field(speed=20.0) as trainer:
        writing = asyncio.create_task(trainer.group(max_tokens=40))
        await trainer.until_writing()
        assert (await trainer.ordered("pause"))["running"] == 0
        assert (await writing)["samples"][0]["finish_reason"] == "length"
        late = asyncio.create_task(trainer.group())
        await eventually(lambda: trainer.brain.waiting == 1, "the sample in line")
        await trainer.ordered("weights", version=1)
        assert trainer.brain.waiting == 1, "an update does not resume"
        await trainer.ordered("resume")
        assert (await late)["samples"][0]["segments"][0]["version"] == 1


async def test_groups_are_aborted_by_name_whether_they_run_or_wait() -> None:
    async with field(speed=5.0) as trainer:
        first = asyncio.create_task(trainer.group(max_tokens=LONG, group="first"))
        await trainer.until_writing()
        await trainer.ordered("pause", mode="keep")
        second = asyncio.create_task(trainer.group(max_tokens=4, group="second"))
        await eventually(lambda: trainer.brain.waiting == 2, "both samples in line")
        assert await trainer.ordered("abort", groups=["first"]) == {"aborted": 1}
        (sample,) = (await first)["samples"]
        assert sample["finish_reason"] == "abort"
        assert sample["token_ids"]
        await trainer.ordered("resume")
        assert (await second)["samples"][0]["finish_reason"] == "length"
