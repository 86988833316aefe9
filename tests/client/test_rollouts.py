"""A trainer's client against a real gateway with an emulated engine behind it."""

from __future__ import annotations

import asyncio

import pytest

from agentserve import AgentserveError, AsyncClient, Client
from agentserve.client.samples import Group
from tests.client.emulated import MODEL, emulated


async def test_an_asynchronous_trainer_samples_updates_and_samples_again() -> None:
    async with emulated() as served, AsyncClient(served.url) as client:
        rollouts = client.rollouts(MODEL)
        group = await rollouts.group([7] * 40, n=2, max_tokens=6, temperature=1.0, seed=1)
        assert group.prompt_token_ids == (7,) * 40
        assert [sample.versions for sample in group.samples] == [(0,) * 6, (0,) * 6]
        assert await rollouts.pause("keep") == 0
        await rollouts.update(3)
        await rollouts.resume()
        assert await rollouts.abort(["nothing"]) == 0
        (sample,) = (await rollouts.group([{"role": "user", "content": "hi"}], n=1, max_tokens=4)).samples
        assert (sample.versions, sample.lag, sample.finish_reason) == ((3,) * 4, 0, "length")
        standing = await rollouts.standing()
        assert (standing.version, standing.engines, standing.paused) == (3, {"e": 3}, False)


async def test_a_blocking_trainer_does_the_same() -> None:
    def trainer(url: str) -> tuple[Group, int, str]:
        with Client(url) as client:
            rollouts = client.rollouts(MODEL)
            rollouts.pause()
            rollouts.update(1, drain=0)
            rollouts.resume()
            group = rollouts.group("once upon a time", n=2, max_tokens=5)
            with pytest.raises(AgentserveError, match="version 0 is older than 1") as refusal:
                rollouts.update(0)
            return group, rollouts.standing().submitted, str(refusal.value.status)

    async with emulated() as served:
        group, submitted, status = await asyncio.to_thread(trainer, served.url)
        assert [len(sample.token_ids) for sample in group.samples] == [5, 5]
        assert group.version == 1
        assert (submitted, status) == (2, "409")
