from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from agentserve.engines import metrics
from agentserve.engines.attached import AttachedEngine
from agentserve.engines.base import PinOrder
from agentserve.engines.emulated import EmulatedServer
from agentserve.engines.emulation.clock import EngineClock
from agentserve.engines.emulation.faults import DiesMidStream, Fault, Garbage, ServerError
from agentserve.engines.emulation.text import filler, tokenize
from agentserve.engines.probe import Known
from scheduler.events import PinOutcome
from scheduler.types import EngineId
from simulator.content import Extent
from simulator.engine import Engine, EngineConfig
from simulator.profile import StepProfile
from simulator.request import Request
from tools.calls import OpenAICalls, openai_tools

CONFIG = EngineConfig(num_blocks=64, block_size=4, max_model_len=200, max_num_seqs=8)
FAST = StepProfile("fast", "test", constant=0.001)
SLOW = StepProfile("slow", "test", constant=60.0)


@pytest.fixture
async def server() -> AsyncIterator[EmulatedServer]:
    server = EmulatedServer("m", CONFIG, FAST)
    yield server
    await server.stop()


@pytest.fixture
async def client(server: EmulatedServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=await server.start(), trust_env=False) as client:
        yield client


def chat(text: str = "hello there", **fields: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 8, **fields}


def ticket(program: str, ttl: float, rank: int = 0) -> dict[str, object]:
    return {"agentserve_program": program, "agentserve_rank": rank, "agentserve_ttl": ttl}


async def events(client: httpx.AsyncClient, path: str, body: dict[str, object]) -> list[str]:
    async with client.stream("POST", path, json={**body, "stream": True}) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        return [line.removeprefix("data: ") async for line in reply.aiter_lines() if line]


async def until_running(client: httpx.AsyncClient, count: int) -> None:
    """Asks until so many calls run."""
    while f'num_requests_running{{engine="0",model_name="m"}} {count}\n' not in (await client.get("/metrics")).text:
        pass


async def read(client: httpx.AsyncClient, body: dict[str, object], received: list[bytes]) -> None:
    """Reads a stream into `received`, as far as it comes."""
    async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        async for chunk in reply.aiter_bytes():
            received += [chunk]


async def test_it_says_what_it_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/version")).json() == {"version": "emulated"}
    (card,) = (await client.get("/v1/models")).json()["data"]
    assert (card["id"], card["owned_by"], card["max_model_len"]) == ("m", "agentserve-emulated", 200)
    plugin = (await client.get("/agentserve/v1/plugin")).json()
    assert (plugin["plugin"], plugin["vllm"], plugin["guard"]) == ("agentserve", "emulated", True)
    assert plugin["tail_scoring"]


async def test_it_tells_log_probabilities_of_its_answer(client: httpx.AsyncClient) -> None:
    body = chat(logprobs=True, top_logprobs=5, max_tokens=3)
    whole = (await client.post("/v1/chat/completions", json=body)).json()
    told = whole["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in told) == whole["choices"][0]["message"]["content"]
    assert [each["token"] for each in told[0]["top_logprobs"][:2]] == ["yes", "no"]
    assert {len(token["top_logprobs"]) for token in told} == {5}
    *chunks, _ = await events(client, "/v1/chat/completions", body)
    streamed = [json.loads(chunk)["choices"][0]["logprobs"] for chunk in chunks]
    assert [token for part in streamed if part for token in part["content"]] == told
    assert (await client.post("/v1/chat/completions", json=chat())).json()["choices"][0]["logprobs"] is None


async def test_it_scores_the_tail_of_a_prompt(client: httpx.AsyncClient) -> None:
    body = chat(prompt_logprobs=0, max_tokens=1)
    whole = (await client.post("/v1/chat/completions", json=body)).json()
    rows = whole["prompt_logprobs"]
    assert (rows[0], len(rows)) == (None, whole["usage"]["prompt_tokens"])
    tail = {**body, "vllm_xargs": {"agentserve_score_tail": 2}}
    assert (await client.post("/v1/chat/completions", json=tail)).json()["prompt_logprobs"] == [None, *rows[-2:]]


async def test_a_chat_goes_on_with_its_last_message_if_that_is_asked_for(client: httpx.AsyncClient) -> None:
    begun = [{"role": "user", "content": "6 * 7?"}, {"role": "assistant", "content": "It is "}]
    going_on = chat(messages=begun, continue_final_message=True, prompt_logprobs=0)
    rows = (await client.post("/v1/chat/completions", json=going_on)).json()["prompt_logprobs"]
    text = "".join(entry["decoded_token"] for row in rows[1:] for entry in row.values())
    assert text.endswith("It is ")


async def test_the_openai_sdk_gets_its_answers(server: EmulatedServer) -> None:
    async with openai.AsyncOpenAI(base_url=f"{await server.start()}/v1", api_key="none") as sdk:
        whole = await sdk.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], max_tokens=8
        )
        stream = await sdk.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], max_tokens=8, stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 8
    assert whole.choices[0].finish_reason == "length"
    assert "".join(pieces) == whole.choices[0].message.content


async def test_the_same_prompt_gives_the_same_text_streamed_or_not(client: httpx.AsyncClient) -> None:
    body = {"model": "m", "prompt": "once upon a time", "max_tokens": 5}
    whole = (await client.post("/v1/completions", json=body)).json()
    *chunks, done = await events(client, "/v1/completions", body)
    assert done == "[DONE]"
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert "".join(choice["text"] for choice in choices) == whole["choices"][0]["text"]
    assert [choice["finish_reason"] for choice in choices] == [None] * 4 + ["length"]
    assert whole["usage"]["prompt_tokens"] == 4


async def test_usage_comes_in_a_stream_only_if_asked_for(client: httpx.AsyncClient) -> None:
    without = await events(client, "/v1/chat/completions", chat())
    *_, last, done = await events(client, "/v1/chat/completions", chat(stream_options={"include_usage": True}))
    assert not any("usage" in json.loads(event) for event in without[:-1])
    assert json.loads(last)["choices"] == []
    assert json.loads(last)["usage"]["completion_tokens"] == 8
    assert done == "[DONE]"


async def test_a_history_that_grows_is_served_from_the_cache(client: httpx.AsyncClient) -> None:
    messages = [{"role": "system", "content": "be brief " * 5}, {"role": "user", "content": "hello"}]
    first = (await client.post("/v1/chat/completions", json=chat(messages=messages))).json()
    messages += [first["choices"][0]["message"], {"role": "user", "content": "and now?"}]
    second = (await client.post("/v1/chat/completions", json=chat(messages=messages))).json()
    context = first["usage"]["total_tokens"] - 1
    assert first["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert second["usage"]["prompt_tokens_details"] == {"cached_tokens": context // 4 * 4}


async def test_a_history_with_a_tool_call_is_served_from_the_cache(client: httpx.AsyncClient) -> None:
    messages: list[object] = [{"role": "user", "content": "hello"}]
    tools = [{"type": "function", "function": {"name": "read_file", "parameters": {"type": "object"}}}]
    body = chat(messages=messages, tools=tools, tool_choice="required", max_tokens=20)
    first = (await client.post("/v1/chat/completions", json=body)).json()
    messages += [first["choices"][0]["message"], {"role": "tool", "tool_call_id": "x", "content": "a file"}]
    second = (await client.post("/v1/chat/completions", json=body)).json()
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == (first["usage"]["total_tokens"] - 1) // 4 * 4


async def test_a_required_tool_is_called_streamed_or_not(client: httpx.AsyncClient) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("search", "other")]
    body = chat(tools=tools, tool_choice="required", max_tokens=16)
    (choice,) = (await client.post("/v1/chat/completions", json=body)).json()["choices"]
    calls, arguments = OpenAICalls(), ""
    for event in (await events(client, "/v1/chat/completions", body))[:-1]:
        delta = json.loads(event)["choices"][0]["delta"]
        calls.feed(delta)
        arguments += "".join(call["function"]["arguments"] for call in delta.get("tool_calls", []))
    assert choice["finish_reason"] == "tool_calls"
    assert openai_tools(choice["message"]) == calls.tools() == ("search",)
    assert arguments == choice["message"]["tool_calls"][0]["function"]["arguments"]
    assert set(json.loads(arguments)) == {"input"}


async def test_tools_are_not_called_unless_one_is_required(client: httpx.AsyncClient) -> None:
    tools = [{"type": "function", "function": {"name": "search"}}]
    (choice,) = (await client.post("/v1/chat/completions", json=chat(tools=tools))).json()["choices"]
    assert choice["finish_reason"] == "length"


async def test_the_default_answer_has_64_tokens(client: httpx.AsyncClient) -> None:
    body = {"model": "m", "prompt": "hello"}
    assert (await client.post("/v1/completions", json=body)).json()["usage"]["completion_tokens"] == 64


async def test_tokens_are_counted_as_prompts_are(client: httpx.AsyncClient) -> None:
    reply = (await client.post("/tokenize", json={"model": "m", "prompt": "hello there, you"})).json()
    assert (reply["count"], len(reply["tokens"]), reply["max_model_len"]) == (4, 4, 200)
    ids = {"model": "m", "prompt": reply["tokens"], "max_tokens": 1}
    assert (await client.post("/v1/completions", json=ids)).json()["usage"]["prompt_tokens"] == 4


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/completions", {"prompt": "x" * 799, "max_tokens": 1}, 400, "maximum context length is 200 tokens"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 2**62}, 400, "maximum context length is 200 tokens"),
        ("/v1/completions", {"prompt": "x" * 900}, 400, "contains 225 input tokens"),
        ("/v1/completions", {"prompt": ""}, 400, "prompt is empty"),
        ("/v1/completions", {"prompt": "x", "model": "other"}, 404, "The model `other` does not exist."),
        ("/v1/completions", {"prompt": "x", "max_tokens": 0}, 400, "max_tokens: Input should be greater than"),
        ("/v1/chat/completions", {"messages": "hello"}, 400, "messages: Input should be a valid array"),
        ("/v1/chat/completions", {"messages": []}, 400, "messages: List should have at least 1 item"),
        ("/v1/chat/completions", {"messages": [{"role": "user"}], "n": 2}, 400, "n: Input should be 1"),
        ("/tokenize", {}, 400, "prompt: Field required"),
    ],
)
async def test_a_bad_request_is_refused_in_vllms_shape(
    client: httpx.AsyncClient, path: str, body: dict[str, object], status: int, message: str
) -> None:
    reply = await client.post(path, json=body)
    error = reply.json()["error"]
    assert reply.status_code == error["code"] == status
    assert message in error["message"]


async def test_malformed_json_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/chat/completions", content=b"{nope")
    assert reply.status_code == 400
    assert "Invalid JSON" in reply.json()["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_aborts_its_call(stream: bool) -> None:
    server = EmulatedServer("m", CONFIG, SLOW)
    async with httpx.AsyncClient(base_url=await server.start(), trust_env=False) as client:
        call = asyncio.create_task(client.post("/v1/chat/completions", json=chat(stream=stream)))
        await until_running(client, 1)
        call.cancel()
        await until_running(client, 0)
    assert server.engine.free_blocks == CONFIG.num_blocks
    server.engine.check_integrity()
    await server.stop()


async def test_the_metrics_page_is_read_as_vllms(server: EmulatedServer, client: httpx.AsyncClient) -> None:
    scrape = metrics.read((await client.get("/metrics")).text)
    assert scrape is not None
    assert (scrape.running, scrape.waiting, scrape.kv_usage) == (0, 0, 0.0)
    assert (scrape.kv_tokens, scrape.block_size, scrape.ranks) == (64 * 4, 4, frozenset({"0"}))


async def test_the_gateway_attaches_it_like_any_engine_with_the_plugin(server: EmulatedServer) -> None:
    engine = AttachedEngine(EngineId("e"), await server.start(), Known("m", priority=True))
    spec = await engine.start(lambda line: None)
    assert (spec.models, spec.kv_tokens, spec.block_size, spec.max_model_len) == (("m",), 256, 4, 200)
    assert spec.retention
    body = json.dumps(chat(vllm_xargs=ticket("t/p", 30.0))).encode()
    reply = await engine.open("/v1/chat/completions", {"content-type": "application/json"}, body)
    assert reply.status == 200
    assert [chunk async for chunk in reply.chunks()]
    (report,) = await engine.pin([PinOrder("t/p", 60.0)])
    assert (report.program, report.outcome) == ("t/p", PinOutcome.APPLIED)
    assert server.engine.retention.protected_blocks * 4 == report.tokens > 0
    assert await engine.pin([PinOrder("t/p", 0.0), PinOrder("t/other", 5.0)]) != []
    assert server.engine.retention.protected_blocks == 0
    await engine.stop()


async def test_a_returning_program_hits_its_pin(client: httpx.AsyncClient) -> None:
    messages = [{"role": "user", "content": "hello you out there"}]
    body = chat(messages=messages, vllm_xargs=ticket("p", 30.0))
    first = (await client.post("/v1/chat/completions", json=body)).json()
    messages.append(first["choices"][0]["message"])
    second = (await client.post("/v1/chat/completions", json=body)).json()
    state = (await client.get("/agentserve/v1/pins", params={"since": 0})).json()
    hit = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert [report["outcome"] for report in state["reports"]] == ["applied", "hit", "applied"]
    assert state["reports"][1] == {"program": "p", "outcome": "hit", "tokens": hit}
    assert state["protected_blocks"] * 4 == state["protected_tokens"] == state["reports"][2]["tokens"]
    assert (state["free_blocks"], state["total_blocks"], state["block_size"]) == (64, 64, 4)
    assert (state["counters"]["applied"], state["counters"]["hit"], state["counters"]["broken"]) == (2, 1, 0)
    again = (await client.get("/agentserve/v1/pins", params={"since": state["cursor"]})).json()
    assert again["reports"] == (await client.get("/agentserve/v1/pins")).json()["reports"] == []


@pytest.mark.parametrize(
    "xargs", [{"agentserve_program": 7}, {"agentserve_program": "p", "agentserve_ttl": -1}, {"other": [1]}]
)
async def test_a_ticket_that_cannot_be_used_is_ignored(client: httpx.AsyncClient, xargs: dict[str, object]) -> None:
    assert (await client.post("/v1/chat/completions", json=chat(vllm_xargs=xargs))).status_code == 200
    state = (await client.get("/agentserve/v1/pins")).json()
    assert state["counters"]["applied"] == 0
    assert state["counters"]["ignored"] == ("other" not in xargs)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"pins": 1}', b'{"pins": [{"program": "p"}]}', b'{"since": -1}'])
async def test_a_bad_order_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    reply = await client.post("/agentserve/v1/pins", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]
    assert (await client.get("/agentserve/v1/pins", params={"since": "x"})).status_code == 400


@pytest.mark.parametrize(("fault", "status"), [(ServerError(), 500), (Garbage(), 200)])
async def test_it_can_be_told_to_fail(
    server: EmulatedServer, client: httpx.AsyncClient, fault: Fault, status: int
) -> None:
    server.fault = fault
    reply = await client.post("/v1/chat/completions", json=chat())
    assert reply.status_code == status
    assert b'"choices"' not in reply.content
    server.fault = None
    assert (await client.post("/v1/chat/completions", json=chat())).json()["choices"]


async def test_it_can_be_told_to_die_in_the_middle_of_a_stream(
    server: EmulatedServer, client: httpx.AsyncClient
) -> None:
    server.fault = DiesMidStream(after=3)
    received: list[bytes] = []
    with pytest.raises(httpx.RemoteProtocolError):
        await read(client, chat(stream=True), received)
    assert b"".join(received).count(b"data: ") == 3
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post("/v1/chat/completions", json=chat())
    assert (await client.get("/health")).status_code == 200
    assert server.engine.running == 0


async def test_it_starts_again_empty_after_it_was_stopped(server: EmulatedServer) -> None:
    async with httpx.AsyncClient(base_url=await server.start(), trust_env=False) as client:
        await client.post("/v1/chat/completions", json=chat(vllm_xargs=ticket("p", 30.0)))
    await server.stop()
    await server.stop()
    async with httpx.AsyncClient(base_url=await server.start(), trust_env=False) as client:
        state = (await client.get("/agentserve/v1/pins")).json()
        assert (state["cursor"], state["protected_tokens"]) == (0, 0)
        assert (await client.post("/v1/chat/completions", json=chat())).status_code == 200


async def test_speed_shortens_the_clock_and_nothing_else() -> None:
    server = EmulatedServer("m", CONFIG, SLOW, speed=60_000.0)
    async with httpx.AsyncClient(base_url=await server.start(), trust_env=False) as client:
        reply = (await client.post("/v1/chat/completions", json=chat())).json()
    await server.stop()
    assert reply["usage"]["completion_tokens"] == 8


@pytest.mark.parametrize("count", [1, 2, 77])
def test_filler_is_as_many_tokens_as_pieces(count: int) -> None:
    pieces = filler(count, "seed")
    assert len(pieces) == count == len(tokenize(["".join(pieces)]))
    assert pieces == filler(count, "seed")


async def test_a_late_event_loop_makes_no_step_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = [0.0]
    monkeypatch.setattr(EngineClock, "_wall", property(lambda self: wall[0]))
    clock = EngineClock(Engine(CONFIG, StepProfile("second", "test", constant=1.0)), speed=1e6)
    outputs = clock.outputs(Request("a", prompt_tokens=1, output_tokens=3, content=(Extent(1, 4),)))
    running = asyncio.create_task(clock.run())
    reading = asyncio.create_task(anext(outputs))
    while clock.engine.running == 0:  # noqa: ASYNC110 - the engine says nothing when a step begins
        await asyncio.sleep(0)
    wall[0] = 3.0
    async with asyncio.timeout(5):
        produced = [(await reading).produced] + [output.produced async for output in outputs]
    assert produced == [1, 2, 3], "three steps of a second are over after three seconds, although none was seen in time"
    running.cancel()


async def test_pins_are_not_taken_from_a_brain_that_was_followed_by_another(client: httpx.AsyncClient) -> None:
    statuses = []
    for epoch in ("5", "9", "5", "x"):
        answer = await client.post("/agentserve/v1/pins", json={"pins": []}, headers={"x-agentserve-epoch": epoch})
        statuses.append(answer.status_code)
    assert statuses == [200, 200, 409, 400]
