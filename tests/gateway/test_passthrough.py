import asyncio
from collections.abc import Callable

import pytest

import agentserve.gateway.faults.retries as retries
from agentserve.engines.base import EngineError
from agentserve.gateway.passthrough import PASSED
from tests.gateway.fakes import FakeEngine, FakeReply
from tests.gateway.spoken import Fields, anthropic_error, openai_error
from tests.gateway.test_slow_reader import Reader
from tests.gateway.world import eventually, within, world

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


async def test_when_too_many_fail_another_engine_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BURST", 0.0)
    async with world(FakeEngine("a"), FakeEngine("b"), faults={"retries": 0.0}) as w:
        w.engine.script.append(EngineError("engine a gave no answer"))
        answer = await w.client.post(EMBEDDINGS, json={"model": "m", "input": "hi"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too_many_retries")
        assert answer.headers["retry-after"] == "5"
        assert not w.engines[1].sent


async def test_an_engine_that_answers_nobody_is_asked_no_more() -> None:
    async with world(FakeEngine("a"), FakeEngine("b"), faults={"failures": 1}) as w:
        bad, good = w.engines
        bad.script.extend([EngineError("broken")] * 9)
        await w.client.post(EMBEDDINGS, json={"model": "m", "input": "hi"})
        await eventually(lambda: w.driver.answering([bad.name, good.name]) == [good], "the end of calls to the bad one")
        asked = len(bad.sent)
        for _ in range(3):
            await w.client.post(EMBEDDINGS, json={"model": "m", "input": "hi"})
        assert [sent.path for sent in bad.sent[:asked]] == [EMBEDDINGS, "/v1/completions"]
        assert EMBEDDINGS not in [sent.path for sent in bad.sent[asked:]]


@pytest.mark.parametrize(("path", "check"), [(EMBEDDINGS, openai_error), (COUNT, anthropic_error)])
async def test_one_that_takes_too_long_is_ended_with_504(path: str, check: Callable[[Fields], str]) -> None:
    async with world(limits={"total": 0.05}) as w:
        w.engine.script.append(asyncio.Event())
        answer = await w.client.post(path, json={"model": "m"})
        assert (answer.status_code, "limits.total" in check(answer.json())) == (504, True)
        await within(w.engine.left)


@pytest.mark.parametrize("path", sorted(PASSED))
async def test_a_client_that_leaves_takes_its_request_off_the_engine(path: str) -> None:
    async with world() as w:
        w.engine.script.append(asyncio.Event())
        task = asyncio.create_task(w.client.post(path, json={"model": "m"}))
        await within(w.engine.opened)
        task.cancel()
        await within(w.engine.left)


async def test_a_reader_that_stalls_is_given_up() -> None:
    async with world(limits={"stall": 0.05}) as w:
        w.engine.script.append(FakeReply([b"x" * 100_000]))
        scope = {"type": "http", "method": "POST", "path": EMBEDDINGS, "headers": []}
        reader = Reader({"model": "m", "input": "hi"})
        async with asyncio.timeout(5):
            await w.app(scope, reader.receive, reader.send)
        assert reader.got == 0


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
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert check(answer.json())
