"""Agents' own client libraries, against a real engine: each calls two tools in turn and is known as one program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import anthropic
import openai
import pytest
from anthropic.types import MessageParam, ToolParam, ToolResultBlockParam, ToolUseBlock
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCall, ResponseInputParam

from tests.engine_fixture import RealEngine
from tests.gateway_fixture import Gateway

ROOT = Path(__file__).parent.parent.parent
SCHEMAS: dict[str, dict[str, object]] = {
    name: {
        "type": "object",
        "properties": {argument: {"type": "string", "enum": values}},
        "required": [argument],
        "additionalProperties": False,
    }
    for name, argument, values in (
        ("list_files", "folder", ["src", "docs"]),
        ("count_lines", "file", ["a.py", "b.py"]),
    )
}
TASK = "How long are the files in src?"
TWO_TOOLS = [["list_files"], ["count_lines"], []]
SESSION = "7e1f0c52-0d0e-4a65-9a53-6f3a8d9b2c11"


@pytest.fixture(scope="session")
def clients_python() -> Path:
    """The interpreter of the environment of its own that the frameworks live in; made if it is not there."""
    subprocess.run([ROOT / "scripts" / "clients.sh"], check=True)
    return ROOT / ".venv-clients" / "bin" / "python"


def only(programs: list[str]) -> str:
    """The one program that all calls belong to."""
    assert len(set(programs)) == 1, programs
    return programs[0]


LOOPS = {
    "openai-agents": ("openai_agents_loop.py", "/p/run-7/v1", {}, "run-7", TWO_TOOLS),
    "langchain-openai": (
        "langchain_loop.py",
        "/v1",
        {"OPENAI_CUSTOM_HEADERS": "x-agentserve-program: run-8\nx-agentserve-workflow: test"},
        "run-8",
        TWO_TOOLS,
    ),
    "pydantic-ai": ("pydantic_ai_loop.py", "/v1", {}, None, TWO_TOOLS),
    "mini-swe-agent": ("mini_swe_agent_loop.py", "/v1", {}, None, [["ls"], ["ls"]]),
}


@pytest.mark.engine
@pytest.mark.parametrize("framework", LOOPS)
def test_a_frameworks_loop_is_one_program(
    framework: str, gateway: Gateway, vllm_engine: RealEngine, clients_python: Path, tmp_path: Path
) -> None:
    script, path, variables, program, tools = LOOPS[framework]
    environment = {**os.environ, **variables, "HOME": str(tmp_path), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    run = subprocess.run(
        [clients_python, "-P", ROOT / "tests" / "clients" / script, f"{gateway.url}{path}", vllm_engine.model],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    gateway.stop()
    known = only(gateway.programs())
    assert known == program or (program is None and known.startswith("auto-"))
    assert gateway.tools() == tools


@pytest.mark.engine
async def test_a_streamed_chat_loop_of_openais_sdk_is_one_program_by_its_history(
    gateway: Gateway, vllm_engine: RealEngine
) -> None:
    tools: list[ChatCompletionFunctionToolParam] = [
        {"type": "function", "function": {"name": name, "strict": True, "parameters": schema}}
        for name, schema in SCHEMAS.items()
    ]
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": TASK}]
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        for name in SCHEMAS:
            async with client.chat.completions.stream(
                model=vllm_engine.model,
                messages=messages,
                tools=tools,
                tool_choice={"type": "function", "function": {"name": name}},
                max_tokens=128,
                temperature=0,
            ) as stream:
                message = (await stream.get_final_completion()).choices[0].message
            (call,) = message.tool_calls or []
            arguments = call.function.arguments
            messages.append(
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": call.id, "type": "function", "function": {"name": name, "arguments": arguments}}
                    ],
                }
            )
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "a.py"})
        await client.chat.completions.create(
            model=vllm_engine.model, messages=messages, tools=tools, tool_choice="none", max_tokens=8, temperature=0
        )
    gateway.stop()
    assert only(gateway.programs()).startswith("auto-")
    assert gateway.tools() == TWO_TOOLS


@pytest.mark.engine
@pytest.mark.parametrize("kept", [True, False])
async def test_a_loop_of_responses_is_one_program_whoever_keeps_the_history(
    gateway: Gateway, vllm_engine: RealEngine, kept: bool
) -> None:
    tools: list[FunctionToolParam] = [
        {"type": "function", "name": name, "strict": True, "parameters": schema} for name, schema in SCHEMAS.items()
    ]
    history: ResponseInputParam = [{"role": "user", "content": TASK}]
    sent, previous = history, None
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        for name in SCHEMAS:
            async with client.responses.stream(
                model=vllm_engine.model,
                input=sent,
                previous_response_id=previous,
                tools=tools,
                tool_choice={"type": "function", "name": name},
                max_output_tokens=128,
                temperature=0,
            ) as stream:
                answer = await stream.get_final_response()
            (call,) = [item for item in answer.output if isinstance(item, ResponseFunctionToolCall)]
            result: ResponseInputParam = [{"type": "function_call_output", "call_id": call.call_id, "output": "a.py"}]
            again: ResponseInputParam = [
                {"type": "function_call", "call_id": call.call_id, "name": name, "arguments": call.arguments}
            ]
            history = [*history, *again, *result]
            sent, previous = (result, answer.id) if kept else (history, None)
        await client.responses.create(
            model=vllm_engine.model,
            input=sent,
            previous_response_id=previous,
            tools=tools,
            tool_choice="none",
            max_output_tokens=8,
            temperature=0,
        )
    gateway.stop()
    assert only(gateway.programs()).startswith("auto-")
    assert gateway.tools() == TWO_TOOLS


@pytest.mark.engine
@pytest.mark.parametrize("means", ["metadata", "variables"])
async def test_a_loop_of_anthropics_sdk_is_one_program_by_its_session_or_by_variables(
    gateway: Gateway, vllm_engine: RealEngine, monkeypatch: pytest.MonkeyPatch, means: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", gateway.url)
    if means == "variables":
        monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", f"x-agentserve-program: {SESSION}\nx-agentserve-stage: s")
    user = f"user_1_account_2_session_{SESSION}" if means == "metadata" else "alice"
    tools: list[ToolParam] = [
        {"name": name, "strict": True, "input_schema": schema} for name, schema in SCHEMAS.items()
    ]
    messages: list[MessageParam] = [{"role": "user", "content": TASK}]
    async with anthropic.AsyncAnthropic(api_key="none", max_retries=0) as client:
        counted = await client.messages.count_tokens(model=vllm_engine.model, messages=messages)
        assert counted.input_tokens > 0
        for name in SCHEMAS:
            async with client.messages.stream(
                model=vllm_engine.model,
                max_tokens=128,
                messages=messages,
                tools=tools,
                tool_choice={"type": "tool", "name": name},
                metadata={"user_id": user},
            ) as stream:
                answer = await stream.get_final_message()
            (use,) = [block for block in answer.content if isinstance(block, ToolUseBlock)]
            result: ToolResultBlockParam = {"type": "tool_result", "tool_use_id": use.id, "content": "a.py"}
            turn: list[ToolUseBlock] = [use]
            messages += [{"role": "assistant", "content": turn}, {"role": "user", "content": [result]}]
        last = await client.messages.create(
            model=vllm_engine.model,
            max_tokens=8,
            messages=messages,
            tools=tools,
            tool_choice={"type": "none"},
            metadata={"user_id": user},
        )
    assert last.usage.cache_read_input_tokens is not None
    gateway.stop()
    assert only(gateway.programs()) == SESSION
    assert gateway.tools() == TWO_TOOLS
