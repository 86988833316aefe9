"""The emulated engine's responses and messages as the SDKs of their makers read them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import anthropic
import openai
import pytest
from anthropic.types import Message, MessageParam, TextBlock, ToolParam, ToolUseBlock
from openai.types.responses import FunctionToolParam, Response, ResponseFunctionToolCall

from agentserve.engines.emulated import EmulatedServer
from simulator.engine import EngineConfig
from simulator.profile import StepProfile

CONFIG = EngineConfig(
    num_blocks=64, block_size=4, max_model_len=200, max_num_seqs=8, max_num_batched_tokens=64, priority=True
)
QUICK = StepProfile("quick", "test", constant=0.0005)
RESPONSES_TOOL: FunctionToolParam = {
    "type": "function",
    "name": "search",
    "parameters": {"type": "object"},
    "strict": False,
}
MESSAGES_TOOL: ToolParam = {"name": "search", "input_schema": {"type": "object"}}
USER: MessageParam = {"role": "user", "content": "hello you out there"}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = EmulatedServer("m", CONFIG, QUICK)
    yield await server.start()
    await server.stop()


@pytest.fixture
async def gpt(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(url: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


async def test_a_streamed_response_ends_as_the_whole_one(gpt: openai.AsyncOpenAI) -> None:
    whole = await gpt.responses.create(model="m", input="hello", max_output_tokens=8)
    async with gpt.responses.stream(model="m", input="hello", max_output_tokens=8) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == whole.output_text
    assert kinds.count("response.output_text.delta") == 8
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.usage is not None
    assert (final.usage.output_tokens, whole.status) == (8, "incomplete")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_calls_a_required_tool(gpt: openai.AsyncOpenAI, stream: bool) -> None:
    if stream:
        async with gpt.responses.stream(
            model="m", input="hello", max_output_tokens=16, tools=[RESPONSES_TOOL], tool_choice="required"
        ) as events:
            answer: Response = await events.get_final_response()
    else:
        answer = await gpt.responses.create(
            model="m", input="hello", max_output_tokens=16, tools=[RESPONSES_TOOL], tool_choice="required"
        )
    (call,) = answer.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert (call.name, set(json.loads(call.arguments))) == ("search", {"input"})


async def test_a_response_follows_one_that_is_kept(gpt: openai.AsyncOpenAI) -> None:
    first = await gpt.responses.create(model="m", input="hello you out there", max_output_tokens=8)
    second = await gpt.responses.create(model="m", input="and now?", max_output_tokens=8, previous_response_id=first.id)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens
    cached = (first.usage.total_tokens - 1) // CONFIG.block_size * CONFIG.block_size
    assert second.usage.input_tokens_details.cached_tokens == cached
    with pytest.raises(openai.NotFoundError, match="resp_nope"):
        await gpt.responses.create(model="m", input="x", previous_response_id="resp_nope")


async def test_a_history_of_items_is_served_from_the_cache(gpt: openai.AsyncOpenAI) -> None:
    first = await gpt.responses.create(
        model="m", input="hello", max_output_tokens=16, tools=[RESPONSES_TOOL], tool_choice="required"
    )
    (call,) = first.output
    assert isinstance(call, ResponseFunctionToolCall)
    second = await gpt.responses.create(
        model="m",
        input=[
            {"role": "user", "content": "hello"},
            {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
            {"type": "function_call_output", "call_id": call.call_id, "output": "a file"},
        ],
        max_output_tokens=8,
        tools=[RESPONSES_TOOL],
    )
    assert first.usage is not None
    assert second.usage is not None
    cached = (first.usage.total_tokens - 1) // CONFIG.block_size * CONFIG.block_size
    assert second.usage.input_tokens_details.cached_tokens == cached


async def test_a_streamed_message_ends_as_the_whole_one(claude: anthropic.AsyncAnthropic) -> None:
    whole = await claude.messages.create(model="m", max_tokens=8, messages=[USER])
    async with claude.messages.stream(model="m", max_tokens=8, messages=[USER]) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    (block,) = whole.content
    assert isinstance(block, TextBlock)
    assert text == block.text
    assert (final.usage.output_tokens, final.stop_reason, whole.stop_reason) == (8, "max_tokens", "max_tokens")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_message_uses_a_required_tool_and_its_history_is_cached(
    claude: anthropic.AsyncAnthropic, stream: bool
) -> None:
    if stream:
        async with claude.messages.stream(
            model="m", max_tokens=16, messages=[USER], tools=[MESSAGES_TOOL], tool_choice={"type": "any"}
        ) as events:
            first: Message = await events.get_final_message()
    else:
        first = await claude.messages.create(
            model="m", max_tokens=16, messages=[USER], tools=[MESSAGES_TOOL], tool_choice={"type": "any"}
        )
    (use,) = first.content
    assert isinstance(use, ToolUseBlock)
    assert (use.name, first.stop_reason) == ("search", "tool_use")
    turn: MessageParam = {"role": "assistant", "content": [use]}
    result: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "a file"}],
    }
    second = await claude.messages.create(model="m", max_tokens=4, messages=[USER, turn, result], tools=[MESSAGES_TOOL])
    context = first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0) + first.usage.output_tokens
    assert second.usage.cache_read_input_tokens == (context - 1) // CONFIG.block_size * CONFIG.block_size


async def test_a_messages_tokens_are_counted_as_they_are_spent(claude: anthropic.AsyncAnthropic) -> None:
    counted = await claude.messages.count_tokens(model="m", messages=[USER], system="be brief")
    spent = await claude.messages.create(model="m", max_tokens=1, messages=[USER], system="be brief")
    assert counted.input_tokens == spent.usage.input_tokens + (spent.usage.cache_read_input_tokens or 0)


async def test_errors_are_the_sdks_own(claude: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        await claude.messages.create(model="other", max_tokens=1, messages=[USER])
    with pytest.raises(anthropic.BadRequestError, match="maximum context length"):
        await claude.messages.create(model="m", max_tokens=400, messages=[USER])
