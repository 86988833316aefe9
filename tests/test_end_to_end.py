"""The whole: agent programs through a gateway process to a real vLLM with the plugin."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionFunctionToolParam

from scheduler.log import replay as replay_log
from tests.engine_fixture import RealEngine
from tests.gateway_fixture import Gateway
from workloads.arrivals import poisson
from workloads.client import replay
from workloads.generate import SMALL, generate
from workloads.records import summarise
from workloads.text2sql import databases
from workloads.text2sql.agent import Settings
from workloads.text2sql.load import play, prepare

TOOL: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "list_files",
        "description": "Lists the files of a folder.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"folder": {"type": "string", "enum": ["src", "docs"]}},
            "required": ["folder"],
            "additionalProperties": False,
        },
    },
}


@pytest.mark.engine
async def test_programs_keep_their_kv_and_leave_the_engine_as_they_found_it(
    gateway: Gateway, vllm_engine: RealEngine
) -> None:
    programs = poisson(generate(SMALL, 6, seed=11), 0.6, seed=11)
    records = await replay(programs, gateway.url, vllm_engine.model)
    summary = summarise(records)
    assert summary.calls_failed == 0, {record.error for record in records}
    assert summary.cached_share is not None
    assert summary.cached_share > 0.5
    # the head of an answer that was held for ten seconds is sent before there is an engine to name
    assert {record.engine for record in records} - {None} == {"real"}

    async with httpx.AsyncClient() as http:
        pins = (await http.get(f"{vllm_engine.url}/agentserve/v1/pins")).json()
        left = (await http.get(f"{gateway.url}/agentserve/v1/programs")).json()
    assert pins["counters"]["hit"] > 0
    assert pins["protected_blocks"] == 0
    assert pins["free_blocks"] == pins["total_blocks"]
    assert left["programs"] == []

    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(30) == 0
    outcome = replay_log(gateway.log.read_text().splitlines())
    assert outcome.first_difference is None
    assert {engine.account.occupied for engine in outcome.brain.engines.values()} == {0}


@pytest.mark.engine
@pytest.mark.parametrize("stream", [True, False])
async def test_the_tool_a_real_model_calls_is_recognised(
    gateway: Gateway, vllm_engine: RealEngine, stream: bool
) -> None:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        answer = await client.chat.completions.create(
            model=vllm_engine.model,
            messages=[{"role": "user", "content": "Which files are there?"}],
            tools=[TOOL],
            tool_choice="required",
            max_tokens=64,
            temperature=0,
            stream=stream,
            extra_headers={"x-agentserve-program": f"tools-{stream}"},
        )
        if isinstance(answer, AsyncStream):
            async for _ in answer:
                pass
    gateway.stop()
    assert gateway.tools() == [["list_files"]]


@pytest.mark.engine
async def test_a_text2sql_agent_asks_a_real_model_and_its_templates_are_cached(
    gateway: Gateway, tmp_path: Path
) -> None:
    asked = prepare(databases.questions(tmp_path / "databases")[:2])
    before = [databases.digest(item.question.database) for item in asked]
    played = await play(asked, [0.0, 0.1], gateway.url, Settings("smollm2", max_revise=1), deadline=300.0)
    assert [each.error for each in played] == ["", ""]
    for each in played:
        assert {"retrieve_schema", "generate_candidate", "select"} <= {call.stage for call in each.calls}
        assert each.sql_seconds > 0
        assert all(call.engine == "real" and 0 < call.prompt <= 1_500 for call in each.calls)
    assert any(call.cached for each in played for call in each.calls)
    assert [databases.digest(item.question.database) for item in asked] == before
