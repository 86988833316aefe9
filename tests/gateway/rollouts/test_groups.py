from __future__ import annotations

import asyncio

import httpx

from tests.gateway.rollouts.field import PROMPT, Field, field
from tests.gateway.world import eventually, until_idle


async def test_a_group_is_n_samples_with_token_ids_log_probabilities_and_the_version_of_each_token() -> None:
    async with field() as trainer:
        group = await trainer.group(n=3, max_tokens=8, sampling={"seed": 7, "temperature": 1.0})
        assert group["prompt_token_ids"] == PROMPT
        assert len(group["samples"]) == 3
        for sample in group["samples"]:
            assert len(sample["token_ids"]) == len(sample["logprobs"]) == 8
            assert all(logprob <= 0 for logprob in sample["logprobs"])
            assert sample["segments"] == [{"version": 0, "engine": "a", "start": 0, "end": 8}]
            assert (sample["finish_reason"], sample["lag"], sample["error"]) == ("length", 0, None)
        assert len({sample["text"] for sample in group["samples"]}) == 3, "each sample has a seed of its own"
        await until_idle(trainer.brain)
        assert not trainer.brain.programs, "a group's programs end with it"


async def test_texts_and_chats_are_cut_into_tokens_by_the_engine() -> None:
    async with field() as trainer:
        text = await trainer.group(prompt="one two three four")
        chat = await trainer.group(prompt=None, messages=[{"role": "user", "content": "one two three four"}])
        assert len(chat["prompt_token_ids"]) > len(text["prompt_token_ids"]) > 0


async def test_a_group_with_a_long_prompt_stays_on_one_engine_and_one_with_long_answers_is_spread() -> None:
    async with field("a", "b", speed=200.0) as trainer:
        together = await trainer.group(n=6, prompt=list(range(3000)), max_tokens=4)
        assert len({sample["segments"][0]["engine"] for sample in together["samples"]}) == 1
        assert {sample["program"] for sample in together["samples"]} == {together["group"]}
        apart = await trainer.group(n=8, prompt=[1, 2, 3], max_tokens=600, group="wide")
        assert {sample["program"] for sample in apart["samples"]} == {"wide/0", "wide/1"}
        assert {sample["segments"][0]["engine"] for sample in apart["samples"]} == {"a", "b"}


async def test_programs_that_go_on_are_kept() -> None:
    async with field() as trainer:
        group = await trainer.group(n=2, goes_on=True, group="g")
        assert [key.program for key in trainer.brain.programs] == ["g"]
        answer = await trainer.http.post(
            "/v1/completions",
            json={"model": "m", "prompt": [*PROMPT, *group["samples"][0]["token_ids"], 5], "max_tokens": 4},
            headers={"x-agentserve-program": "g", "x-agentserve-final": "true"},
        )
        assert answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] >= 64


async def test_a_trainer_that_leaves_ends_its_samples() -> None:
    async with field(speed=1.0) as trainer:
        leaving = asyncio.create_task(trainer.group(n=2, max_tokens=3000))
        await trainer.until_writing()
        leaving.cancel()
        await until_idle(trainer.brain)
        await eventually(lambda: not trainer.brain.programs, "the end of its program")
        assert (await trainer.status())["submitted"] == 0


async def refused(trainer: Field, **body: object) -> httpx.Response:
    answer = await trainer.post("groups", **{"max_tokens": 4, **body})
    assert answer.status_code == 400, answer.text
    return answer


async def test_what_is_wrong_with_a_group_is_said() -> None:
    async with field() as trainer:
        assert "either 'prompt' or 'messages'" in (await refused(trainer)).text
        assert "the prompt is empty" in (await refused(trainer, prompt=[])).text
        assert "sampling.n is set by the gateway" in (await refused(trainer, prompt=[1], sampling={"n": 2})).text
        assert "4096 tokens" in (await refused(trainer, prompt=[1] * 5000)).text
        unknown = await trainer.http.post(
            "/agentserve/v1/rollouts/groups", json={"model": "x", "prompt": [1], "max_tokens": 1}
        )
        assert unknown.status_code == 404
        assert (await trainer.status())["submitted"] == 0


async def test_a_group_that_would_be_too_stale_is_refused_until_there_is_a_version() -> None:
    async with field(batch=4, lag=0) as trainer:
        await trainer.group(n=4)
        answer = await trainer.post("groups", prompt=PROMPT, max_tokens=4, n=2)
        assert answer.status_code == 429
        assert answer.headers["retry-after"]
        error = answer.json()["error"]
        assert error["code"] == "too_stale"
        assert "1 versions after its weights (0), and may be 0 behind: 4 samples are submitted" in error["message"]
        await trainer.ordered("weights", version=1)
        assert (await trainer.group(n=2))["version"] == 1
        assert "at most 4" in (await refused(trainer, prompt=[1], n=5)).text


async def test_samples_refusals_and_versions_are_counted_for_prometheus() -> None:
    async with field(speed=20.0, batch=2, lag=0) as trainer:
        await trainer.group(n=2)
        refused = await trainer.post("groups", prompt=PROMPT, max_tokens=8)
        assert refused.status_code == 429
        await trainer.ordered("weights", version=3)
        page = (await trainer.http.get("/metrics")).text
        assert 'agentserve_rollout_samples_total{finish="length",model="m"} 2.0' in page
        assert 'agentserve_rollout_stale_groups_total{model="m"} 1.0' in page
        assert 'agentserve_weights_version{model="m"} 3.0' in page
        assert 'agentserve_engine_weights_version{engine="a",model="m"} 3.0' in page
