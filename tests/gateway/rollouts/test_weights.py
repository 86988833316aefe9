from __future__ import annotations

import asyncio

import pytest

from agentserve.gateway.rollouts.update import WEIGHTS_PATH
from tests.gateway.rollouts.field import PROMPT, field
from tests.gateway.world import chat, eventually, until_idle

LONG = 400


async def test_new_weights_write_other_words_and_find_none_of_the_old_kv() -> None:
    async with field() as trainer:
        before = await trainer.group()
        assert (await trainer.group())["samples"][0]["text"] == before["samples"][0]["text"]
        said = await trainer.ordered("weights", version=5)
        assert [(each["engine"], each["version"], each["error"]) for each in said["engines"]] == [("a", 5, "")]
        answer = await trainer.http.post("/v1/completions", json={"model": "m", "prompt": PROMPT, "max_tokens": 8})
        assert answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        after = await trainer.group()
        assert after["samples"][0]["text"] != before["samples"][0]["text"]
        assert after["samples"][0]["segments"][0]["version"] == 5


async def test_a_sample_that_spans_an_update_says_which_tokens_came_from_which_version() -> None:
    async with field(speed=5.0) as trainer:
        writing = asyncio.create_task(trainer.group(max_tokens=LONG))
        await trainer.until_writing()
        said = await trainer.ordered("weights", version=1, drain=0)
        assert said["engines"][0]["interrupted"] == 1
        (sample,) = (await writing)["samples"]
        first, second = sample["segments"]
        assert (first["version"], first["start"]) == (0, 0)
        assert (second["version"], second["start"], second["end"]) == (1, first["end"], LONG)
        assert len(sample["token_ids"]) == len(sample["logprobs"]) == LONG
        assert sample["lag"] == 1


async def test_an_update_goes_engine_by_engine_and_samples_move_to_the_others() -> None:
    async with field("a", "b", speed=5.0) as trainer:
        groups = [asyncio.create_task(trainer.group(max_tokens=LONG, prompt=[each] * 50)) for each in range(4)]
        await trainer.until_writing()
        said = await trainer.ordered("weights", version=1, drain=0)
        assert [each["engine"] for each in said["engines"]] == ["a", "b"]
        assert sum(each["interrupted"] for each in said["engines"]) >= 4
        for group in await asyncio.gather(*groups):
            (sample,) = group["samples"]
            assert sample["finish_reason"] == "length"
            assert sample["segments"][-1] | {"start": 0} == {
                "version": 1,
                "engine": sample["segments"][-1]["engine"],
                "start": 0,
                "end": LONG,
            }
        assert (await trainer.status())["engines"] == {"a": 1, "b": 1}
        await until_idle(trainer.brain)


async def test_ordinary_calls_have_time_to_end_before_their_engine_changes() -> None:
    async with field(speed=20.0) as trainer:
        body = chat(max_tokens=100)
        call = asyncio.create_task(trainer.http.post("/v1/chat/completions", json=body))
        await eventually(lambda: bool(trainer.brain.calls), "the call's arrival")
        await trainer.ordered("weights", version=1, drain=30)
        assert (await call).status_code == 200


async def test_calls_that_come_during_an_update_of_the_only_engine_wait_for_it() -> None:
    async with field(speed=5.0) as trainer:
        writing = asyncio.create_task(trainer.group(max_tokens=60))
        await trainer.until_writing()
        update = asyncio.create_task(trainer.ordered("weights", version=1, drain=30))
        await eventually(lambda: trainer.brain.engines[trainer.app.driver.engines["a"].name].returns, "the draining")  # type: ignore[index]
        late = asyncio.create_task(trainer.group(max_tokens=4))
        await update
        assert (await writing)["samples"][0]["segments"][-1]["version"] == 0
        assert (await late)["samples"][0]["segments"][0]["version"] == 1


async def test_samples_that_an_update_makes_too_stale_end_with_what_they_have() -> None:
    async with field(speed=2.0, batch=4, lag=0) as trainer:
        writing = asyncio.create_task(trainer.group(max_tokens=LONG))
        await trainer.until_writing()
        await trainer.ordered("weights", version=1)
        (sample,) = (await writing)["samples"]
        assert sample["finish_reason"] == "stale"
        assert 3 <= len(sample["token_ids"]) < LONG
        assert (await trainer.status())["submitted"] == 0, "it is not trained on"


async def test_versions_run_forwards_and_steps_are_those_that_are_relayed() -> None:
    async with field() as trainer:
        await trainer.ordered("weights", version=2)
        old = await trainer.post("weights", version=1)
        assert (old.status_code, old.json()["error"]["code"]) == (409, "old_version")
        odd = await trainer.post("weights", version=3, steps=[{"path": "/v1/models"}])
        assert odd.status_code == 400
        assert "'/v1/models' is not relayed" in odd.text


async def test_an_engine_that_does_not_take_its_weights_gets_no_calls_until_it_does() -> None:
    async with field("a", "b") as trainer:
        failed = await trainer.post("weights", version=1, steps=[{"path": "/sleep", "body": {}}])
        assert failed.status_code == 502
        assert "a: /sleep: it answered with status 404" in failed.json()["error"]["message"]
        assert set((await trainer.status())["broken"]) == {"a", "b"}
        waiting = asyncio.create_task(trainer.group())
        await eventually(lambda: trainer.brain.waiting == 1, "a sample in line")
        await trainer.ordered("weights", version=1)
        assert (await waiting)["samples"][0]["segments"][0]["version"] == 1
        assert not (await trainer.status())["broken"]


TRANSFER: list[dict[str, object]] = [
    {"path": path, "body": {}} for path in ("/start_weight_update", "/update_weights", "/finish_weight_update")
]


async def test_steps_are_relayed_to_each_engine_in_their_order_before_its_cache_is_emptied() -> None:
    async with field("a", "b") as trainer:
        said = await trainer.ordered("weights", version=1, steps=TRANSFER)
        assert [(each["engine"], each["version"]) for each in said["engines"]] == [("a", 1), ("b", 1)]
        for engine in trainer.engines.values():
            assert engine.asked == [*(step["path"] for step in TRANSFER), WEIGHTS_PATH]


async def test_an_engine_that_refuses_a_step_says_which_and_gets_no_calls() -> None:
    async with field() as trainer:
        failed = await trainer.post("weights", version=1, steps=TRANSFER[1:])
        assert failed.status_code == 502
        assert "/update_weights: it answered with status 500" in failed.json()["error"]["message"]
        assert set((await trainer.status())["broken"]) == {"a"}
        assert trainer.engines["a"].asked == ["/update_weights"], "what comes after a failed step is not asked"


@pytest.mark.parametrize("steps", [[], TRANSFER])
async def test_an_engine_that_comes_back_gets_the_latest_weights_before_any_call(
    steps: list[dict[str, object]],
) -> None:
    async with field() as trainer:
        await trainer.ordered("weights", version=2)
        await trainer.ordered("weights", version=5, steps=steps)
        before = await trainer.group()
        await trainer.dies_and_returns("a")
        after = await trainer.group()
        assert after["samples"][0]["segments"][0]["version"] == 5
        assert after["samples"][0]["text"] == before["samples"][0]["text"], "other weights write other words"
        first_call = trainer.engines["a"].asked.index("/v1/completions")
        assert trainer.engines["a"].asked[first_call - 1] == WEIGHTS_PATH
        assert trainer.engines["a"].asked.count(WEIGHTS_PATH) == 1


async def test_an_engine_that_comes_back_and_does_not_take_the_weights_gets_no_calls_until_it_does() -> None:
    async with field() as trainer:
        failed = await trainer.post("weights", version=1, steps=[{"path": "/sleep"}])
        assert failed.status_code == 502
        await trainer.dies_and_returns("a")
        assert set((await trainer.status())["broken"]) == {"a"}
        waiting = asyncio.create_task(trainer.group())
        await eventually(lambda: trainer.brain.waiting == 1, "a sample in line")
        assert "/v1/completions" not in trainer.engines["a"].asked
        await trainer.ordered("weights", version=2)
        assert (await waiting)["samples"][0]["segments"][0]["version"] == 2
