"""The gateway as the OpenAI SDK sees it."""

import openai
import pytest

from tests.gateway.fakes import DONE, ROLE, FakeReply, delta, event
from tests.gateway.world import World, until_idle, world


def sdk(w: World) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{w.url}/v1", api_key="none", max_retries=0)


async def test_a_chat_and_a_streamed_chat() -> None:
    async with world() as w, sdk(w) as client:
        answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content == "Hello world"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 14
        stream = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            extra_headers={"x-agentserve-program": "p"},
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert text == "Hello world"
        assert stream.response.headers["x-agentserve-program"] == "p"


async def test_a_base_url_and_headers_of_the_environment_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as w:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{w.url}/p/run-42/v1")
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-agentserve-workflow: swe\nx-agentserve-stage: plan")
        async with openai.AsyncOpenAI(api_key="none", max_retries=0) as client:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        (program,) = w.brain.programs.values()
        assert (program.key.program, program.workflow) == ("run-42", "swe")


async def test_streamed_tool_calls_reach_the_client_and_the_brain() -> None:
    first = {"index": 0, "id": "c", "type": "function", "function": {"name": "search", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"q": 1}'}}
    end = event({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    async with world() as w, sdk(w) as client:
        w.engine.script.append(FakeReply([ROLE, delta(tool_calls=[first]), delta(tool_calls=[more]), end, DONE]))
        stream = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            tools=[{"type": "function", "function": {"name": "search"}}],
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[1].choices[0].delta.tool_calls
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
        (program,) = w.brain.programs.values()
        assert program.gap_tools == ("search",)


async def test_errors_become_the_sdks_own() -> None:
    async with world() as w, sdk(w) as client:
        with pytest.raises(openai.NotFoundError, match="gpt-9"):
            await client.completions.create(model="gpt-9", prompt="hi")
        w.engine.script.append(FakeReply([ROLE, delta(content="Hel")]))
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        with pytest.raises(openai.APIError, match="before the answer was complete"):
            assert [chunk async for chunk in stream]


async def test_models_are_listed() -> None:
    async with world() as w, sdk(w) as client:
        assert [model.id async for model in client.models.list()] == ["m"]


async def test_a_call_that_is_too_late_to_be_served_fails_at_once_and_is_not_tried_again() -> None:
    tries: list[object] = []

    async def note(request: object) -> None:
        tries.append(request)

    policy = {
        "order": {"punctual": {"margin": 1e4, "serve_lost": False}},
        "placement": "least_delay",
        "admission": "in_time",
        "retention": "none",
    }
    http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [note]})
    async with world(policy=policy) as w, sdk(w).with_options(max_retries=2, http_client=http) as client:
        with pytest.raises(openai.APIStatusError, match=r"deadline, \d+\.\d s from now, cannot be met") as failed:
            await client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "hi"}],
                extra_headers={"x-agentserve-deadline-ms": "2000"},
            )
        assert (failed.value.status_code, failed.value.code) == (504, "deadline_exceeded")
        assert len(tries) == 1
        assert not w.engine.sent
        await until_idle(w.brain)
