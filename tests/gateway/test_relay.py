import asyncio
import json

import httpx
import pytest

from agentserve.engines.base import EngineError
from scheduler.types import EngineSpec
from tests.gateway.fakes import DONE, ROLE, SPEC, STOP, STREAM, USAGE, WHOLE, WORDS, FakeEngine, FakeReply, event
from tests.gateway.world import CHAT, chat, eventually, until_idle, within, world


async def test_a_whole_answer_is_relayed_as_it_is() -> None:
    async with world() as w:
        answer = await w.client.post(CHAT, json=chat(), headers={"x-agentserve-program": "p1"})
        assert (answer.status_code, answer.content) == (200, WHOLE)
        assert answer.headers["x-agentserve-program"] == "p1"
        assert answer.headers["x-agentserve-engine"] == "a"
        assert answer.headers["x-agentserve-why"] == "direct"
        assert answer.headers["x-agentserve-queue-ms"] == "0"
        await until_idle(w.brain)
        assert next(iter(w.brain.programs.values())).context == 14


async def test_a_stream_is_relayed_as_it_is_without_the_usage_nobody_asked_for() -> None:
    async with world() as w:
        answer = await w.client.post(CHAT, json=chat(stream=True))
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.content == b"".join(STREAM).replace(USAGE, b"")
        assert w.engine.sent[0].json["stream_options"] == {"include_usage": True}
        assert next(iter(w.brain.programs.values())).context == 14, "usage is read although it is not relayed"


async def test_a_client_that_asks_for_usage_gets_it() -> None:
    async with world() as w:
        answer = await w.client.post(CHAT, json=chat(stream=True, stream_options={"include_usage": True}))
        assert answer.content == b"".join(STREAM)


async def test_chunks_reach_the_client_before_the_stream_ends() -> None:
    more = asyncio.Event()
    async with world() as w:
        w.engine.script.append(FakeReply([ROLE, WORDS[0], more, WORDS[1], STOP, USAGE, DONE]))
        async with w.client.stream("POST", CHAT, json=chat(stream=True)) as answer:
            chunks = answer.aiter_raw()
            got = b""
            while WORDS[0] not in got:
                got += await anext(chunks)
            more.set()
            got += b"".join([chunk async for chunk in chunks])
        assert got == b"".join((ROLE, *WORDS, STOP, DONE))


async def test_the_body_reaches_the_engine_byte_true_with_our_fields_spliced_in() -> None:
    async with world() as w:
        body = b'{"model":"m", "messages" : [{"role":"user","content":"\\u00e9\xc3\xa9"}],"seed":1e3, "x":{"y":[1.0]}}'
        await w.client.post(CHAT, content=body, headers={"x-agentserve-program": "p"})
        ours = b',"priority":0,"vllm_xargs":'
        assert w.engine.sent[0].body.startswith(body[:-1] + ours)
        assert w.engine.sent[0].json["vllm_xargs"] == {
            "agentserve_program": "default/p",
            "agentserve_rank": 0,
            "agentserve_ttl": 0.0,
        }


async def test_fields_that_steer_the_engine_are_dropped() -> None:
    plain = EngineSpec(models=("m",), kv_tokens=8192, block_size=32, max_model_len=4096)
    async with world(FakeEngine(spec=plain)) as w:
        steering = {
            "priority": -5,
            "session_id": "s",
            "request_id": "r",
            "cache_salt": "c",
            "kv_transfer_params": {},
            "vllm_xargs": {"agentic_context": {"session_id": "s"}},
            "skip_reading_prefix_cache": False,
        }
        await w.client.post(CHAT, json={**chat(top_k=3), **steering})
        assert w.engine.sent[0].json == chat(top_k=3)


async def test_a_field_that_is_allowed_passes_and_ours_are_merged_into_it() -> None:
    async with world(allow=["vllm_xargs", "cache_salt"]) as w:
        arguments = {"mine": 1, "agentic_context": {"session_id": "s"}, "agentserve_rank": 99}
        await w.client.post(CHAT, json=chat(vllm_xargs=arguments, cache_salt="c", priority=1))
        sent = w.engine.sent[0].json
        assert sent["cache_salt"] == "c"
        assert sent["priority"] == 0
        assert sent["vllm_xargs"] == {
            "mine": 1,
            "agentserve_program": "default/s",
            "agentserve_rank": 0,
            "agentserve_ttl": 0.0,
        }


async def test_the_engines_refusal_is_relayed_as_it_is() -> None:
    refusal = b'{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}'
    async with world(FakeEngine("a"), FakeEngine("b")) as w:
        for engine in w.engines:
            engine.script.append(FakeReply([refusal], status=400, headers={"content-type": "application/json"}))
        answer = await w.client.post(CHAT, json=chat(stream=True))
        assert (answer.status_code, answer.content) == (400, refusal)
        assert sum(len(engine.sent) for engine in w.engines) == 1
        await until_idle(w.brain)


BROKEN: dict[str, FakeReply | EngineError] = {
    "refused connection": EngineError("engine a gave no answer"),
    "status 500": FakeReply([b"Internal Server Error"], status=500),
    "redirect": FakeReply([b""], status=302),
    "html": FakeReply([b"<html>\n\n</html>"]),
    "nothing": FakeReply([]),
    "dies before the head's first event": FakeReply([b"data: {", EngineError("broke off")]),
    "error event first": FakeReply([event({"error": {"message": "engine dead", "code": 500}}), DONE]),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", BROKEN)
async def test_before_the_first_byte_another_engine_answers(kind: str, stream: bool) -> None:
    broken = BROKEN[kind]
    async with world(FakeEngine("a"), FakeEngine("b")) as w:
        if isinstance(broken, FakeReply):
            broken = FakeReply(broken.pieces, broken.status)
        w.engine.script.append(broken)
        answer = await w.client.post(CHAT, json=chat(stream=stream))
        assert answer.status_code == 200
        assert b"Hello" in answer.content
        assert answer.headers["x-agentserve-engine"] == "b"
        assert answer.headers["x-agentserve-why"] == "retried"
        await until_idle(w.brain)


async def test_when_all_engines_fail_the_client_is_told_what_the_last_one_did() -> None:
    async with world() as w:
        w.engine.script.append(FakeReply([b"CUDA out of memory"], status=500))
        answer = await w.client.post(CHAT, json=chat())
        assert answer.status_code == 502
        error = answer.json()["error"]
        assert error["code"] == "engines_failed"
        assert "CUDA out of memory" in error["message"]
        await until_idle(w.brain)


@pytest.mark.parametrize("end", [EngineError("engine a broke off"), None])
async def test_an_engine_that_dies_in_mid_stream_leaves_a_clear_error(end: EngineError | None) -> None:
    async with world(FakeEngine("a"), FakeEngine("b")) as w:
        w.engine.script.append(FakeReply([ROLE, WORDS[0], *([end] if end else [])]))
        answer = await w.client.post(CHAT, json=chat(stream=True))
        events = answer.content.split(b"\n\n")
        assert events[-2:] == [b"data: [DONE]", b""]
        error = json.loads(events[-3].removeprefix(b"data: "))["error"]
        assert error["type"] == "server_error"
        assert "engine a" in error["message"]
        assert not w.engines[1].sent
        await until_idle(w.brain)


async def test_an_engines_own_error_event_is_relayed_and_counts_as_failure() -> None:
    async with world() as w:
        broken = event({"error": {"message": "engine dead", "code": 500}})
        w.engine.script.append(FakeReply([ROLE, WORDS[0], broken, DONE]))
        answer = await w.client.post(CHAT, json=chat(stream=True))
        assert answer.content == b"".join((ROLE, WORDS[0], broken, DONE))
        metrics = (await w.client.get("/metrics")).text
        assert 'agentserve_calls_total{model="m",status="engine_error"} 1.0' in metrics


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_while_the_engine_thinks_ends_the_exchange(stream: bool) -> None:
    async with world() as w:
        w.engine.script.append(asyncio.Event())
        task = asyncio.create_task(w.client.post(CHAT, json=chat(stream=stream)))
        await within(w.engine.opened)
        task.cancel()
        await within(w.engine.left)
        await until_idle(w.brain)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_during_the_answer_closes_it_upstream(stream: bool) -> None:
    async with world() as w:
        reply = FakeReply([ROLE, WORDS[0], asyncio.Event()])
        w.engine.script.append(reply)
        task = asyncio.create_task(w.client.post(CHAT, json=chat(stream=stream)))
        await within(w.engine.opened)
        task.cancel()
        await within(reply.closed)
        await until_idle(w.brain)
        assert 'status="cancelled"} 1.0' in (await w.client.get("/metrics")).text


async def test_a_call_on_an_engine_that_goes_down_moves_to_another() -> None:
    async with world(FakeEngine("a"), FakeEngine("b")) as w:
        w.engine.script.append(asyncio.Event())
        task = asyncio.create_task(w.client.post(CHAT, json=chat(stream=True)))
        await within(w.engine.opened)
        w.driver.engine_down(w.engine, "it hangs")
        answer = await task
        assert answer.headers["x-agentserve-engine"] == "b"
        await within(w.engine.left)


async def test_a_call_without_any_engine_up_fails_with_a_status() -> None:
    async with world() as w:
        w.driver.engine_down(w.engine, "it hangs")
        answer = await w.client.post(CHAT, json=chat(stream=True))
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "no_engine"


async def test_the_engine_gets_no_headers_that_steer_it() -> None:
    async with world() as w:
        headers = {"authorization": "Bearer k", "x-session-id": "s", "x-vllm-priority": "-9", "x-request-id": "mine"}
        await w.client.post(CHAT, json=chat(), headers=headers)
        sent = w.engine.sent[0].headers
        assert set(sent) == {"content-type", "x-request-id", "authorization"}
        assert sent["x-request-id"] != "mine"


async def test_completions_are_served_like_chats() -> None:
    async with world() as w:
        answer = await w.client.post("/v1/completions", json={"model": "m", "prompt": "say"})
        assert answer.status_code == 200
        assert w.engine.sent[0].path == "/v1/completions"


async def test_hundreds_of_streams_run_at_once() -> None:
    async with world() as w:
        go = asyncio.Event()
        for _ in range(300):
            w.engine.script.append(FakeReply([ROLE, go, *WORDS, STOP, USAGE, DONE]))
        limits = httpx.Limits(max_connections=300)
        async with httpx.AsyncClient(base_url=w.url, limits=limits, timeout=60) as client:
            tasks = [asyncio.create_task(client.post(CHAT, json=chat(stream=True))) for _ in range(300)]
            await eventually(lambda: len(w.engine.replies) == 300, "the dispatch of all calls", 30)
            go.set()
            answers = await asyncio.gather(*tasks)
        assert {answer.content for answer in answers} == {b"".join((ROLE, *WORDS, STOP, DONE))}
        await until_idle(w.brain)
        assert SPEC.max_num_seqs < 300, "more than the engine runs at once"
