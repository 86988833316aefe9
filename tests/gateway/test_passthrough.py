import asyncio
from collections.abc import Callable

import pytest

from agentserve.engines.base import EngineError
from agentserve.gateway.passthrough import PASSED
from tests.gateway.fakes import FakeEngine, FakeReply
from tests.gateway.spoken import Fields, anthropic_error, openai_error
from tests.gateway.world import within, world

EMBEDDINGS = "/v1/embeddings"
COUNT = "/v1/messages/count_tokens"
ANSWER = b'{"object":  "list", "data":[]}'
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("path", sorted(PASSED))
async def test_requests_that_generate_nothing_pass_as_they_are(path: str) -> None:
    body = b'{"model" :"m","input":"hi",  "x":1e3}'
    async with world() as w:
        w.engine.script.append(FakeReply([ANSWER], headers=JSON))
        answer = await w.client.post(path, content=body)
        assert (answer.status_code, answer.content) == (200, ANSWER)
        assert (w.engine.sent[0].path, w.engine.sent[0].body) == (path, body)
        assert not w.brain.programs, "they are of no program"


async def test_fields_that_steer_the_engine_do_not_pass() -> None:
    async with world() as w:
        await w.client.post(EMBEDDINGS, json={"model": "m", "input": "hi", "cache_salt": "c", "priority": -9})
        assert w.engine.sent[0].json == {"model": "m", "input": "hi"}


async def test_the_only_model_need_not_be_named() -> None:
    async with world() as w:
        w.engine.script.append(FakeReply([ANSWER], headers=JSON))
        assert (await w.client.post("/tokenize", json={"prompt": "hi"})).status_code == 200


@pytest.mark.parametrize("broken", [EngineError("engine a gave no answer"), FakeReply([b"dead"], status=500)])
async def test_another_engine_answers_for_one_that_fails(broken: EngineError | FakeReply) -> None:
    async with world(FakeEngine("a"), FakeEngine("b")) as w:
        w.engine.script.append(broken)
        w.engines[1].script.append(FakeReply([ANSWER], headers=JSON))
        answer = await w.client.post(EMBEDDINGS, json={"model": "m", "input": "hi"})
        assert (answer.status_code, answer.content) == (200, ANSWER)


async def test_the_engine_with_the_fewest_of_them_is_asked() -> None:
    async with world(FakeEngine("a"), FakeEngine("b")) as w:
        w.engine.script.append(asyncio.Event())
        waiting = asyncio.create_task(w.client.post(EMBEDDINGS, json={"model": "m", "input": "hi"}))
        await within(w.engine.opened)
        await w.client.post(EMBEDDINGS, json={"model": "m", "input": "hi"})
        assert len(w.engines[1].sent) == 1
        waiting.cancel()
        await within(w.engine.left)


@pytest.mark.parametrize(("path", "check"), [(EMBEDDINGS, openai_error), (COUNT, anthropic_error)])
async def test_what_goes_wrong_is_told_in_the_shape_of_the_route(path: str, check: Callable[[Fields], str]) -> None:
    not_found = FakeReply([b'{"detail":"Not Found"}'], status=404, headers={"content-type": "text/plain"})
    async with world(limits={"body_bytes": 1000}) as w:
        for content, status in ((b"{", 400), (b'{"model":"x"}', 404), (b'{"model":7}', 400), (b" " * 1001, 413)):
            answer = await w.client.post(path, content=content)
            assert answer.status_code == status
            assert check(answer.json())
        assert (await w.client.get(path)).status_code == 405
        w.engine.script.append(not_found)
        answer = await w.client.post(path, json={"model": "m"})
        assert (answer.status_code, f"does not offer {path}" in check(answer.json())) == (404, True)
        assert answer.headers["content-type"] == "application/json"
        w.engine.script.append(FakeReply([b"dead"], status=500))
        answer = await w.client.post(path, json={"model": "m"})
        assert (answer.status_code, "dead" in check(answer.json())) == (502, True)
        w.driver.engine_down(w.engine, "it hangs")
        answer = await w.client.post(path, json={"model": "m"})
        assert answer.status_code == 503
        assert check(answer.json())
