"""The SDK against a real gateway with an emulated engine behind it."""

from __future__ import annotations

import asyncio
import threading

import anthropic
import openai
import pytest

from agentserve import AgentserveError, Ahead, AsyncClient, Client, tool
from scheduler.events import CallArrived, ToolEnded, ToolStarted
from tests.client.emulated import MODEL, Served, emulated
from tests.gateway.world import eventually


def arrivals(served: Served) -> list[CallArrived]:
    return [event for event in served.brain.heard if isinstance(event, CallArrived)]


async def test_a_blocking_agent_runs_stages_and_a_sub_program() -> None:
    def agent(url: str) -> tuple[str, str]:
        with Client(url) as client, client.program("run", workflow="swe", deadline=30) as program:
            with program.stage("plan"):
                program.chat("hello", model=MODEL, max_tokens=4)
            with program.child("run/sub", workflow="review") as sub:
                answers = sub.chats(["a", "b"], model=MODEL, max_tokens=4)
            return answers[0].engine or "", "".join(program.stream("more", model=MODEL, max_tokens=4))

    async with emulated() as served:
        engine, text = await asyncio.to_thread(agent, served.url)
        assert engine == "e"
        assert text
        first, left, right, last = arrivals(served)
        assert (first.program.program, first.workflow, first.stage) == ("run", "swe", "plan")
        assert first.deadline is not None
        assert {left.program.program, right.program.program} == {"run/sub"}
        assert left.parent == first.program
        assert left.deadline is not None, "a sub-program has its parent's deadline"
        assert last.stage == ""
        assert not served.brain.programs, "both have ended"


@tool(effect="pure")
def look(place: str) -> str:
    return f"nothing in {place}"


@tool(effect="idempotent", name="look-again")
async def look_again(place: str) -> str:
    return f"still nothing in {place}"


async def test_the_gateway_hears_when_a_tool_starts_and_when_the_last_one_ends() -> None:
    async with emulated() as served, AsyncClient(served.url) as client, client.program("run") as program:
        await program.chat("hello", model=MODEL, max_tokens=4)
        with program.running("outer"):
            await eventually(lambda: bool(served.heard(ToolStarted)), "the tool's start")
            assert look("the attic") == "nothing in the attic"
            assert await look_again("the cellar") == "still nothing in the cellar"
            assert not served.heard(ToolEnded), "one tool still runs"
        await eventually(lambda: bool(served.heard(ToolEnded)), "the tool's end")
        assert {name: timing.runs for name, timing in program.tools.items()} == {
            "outer": 1,
            "look": 1,
            "look-again": 1,
        }
        (known,) = served.brain.programs.values()
        assert known.gap_tools[0] in {"outer", "look", "look-again"}


async def test_a_blocking_tool_tells_the_gateway_too() -> None:
    started, go_on = threading.Event(), threading.Event()

    @tool(effect="idempotent")
    def wait() -> None:
        started.set()
        assert go_on.wait(10)

    def agent(url: str) -> None:
        with Client(url) as client, client.program("run") as program:
            program.chat("hello", model=MODEL, max_tokens=4)
            wait()
            client._notices.close()

    async with emulated() as served:
        running = asyncio.create_task(asyncio.to_thread(agent, served.url))
        await asyncio.to_thread(started.wait, 10)
        await eventually(lambda: bool(served.heard(ToolStarted)), "the tool's start")
        go_on.set()
        await running
        assert served.heard(ToolEnded)


async def test_an_openai_client_becomes_a_program() -> None:
    async with emulated() as served, AsyncClient(served.url) as client:
        async with (
            client.program("run", workflow="swe", deadline=30) as program,
            openai.AsyncOpenAI(base_url="http://elsewhere/v1", api_key="none", default_headers={"x-own": "1"}) as sdk,
        ):
            wrapped = program.wrap(sdk)
            with program.stage("plan"):
                answer = await wrapped.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=4
                )
            assert answer.choices[0].message.content
            assert (str(sdk.base_url), wrapped.default_headers["x-own"]) == ("http://elsewhere/v1/", "1")
        (call,) = arrivals(served)
        assert (call.program.program, call.workflow, call.stage) == ("run", "swe", "plan")
        assert call.deadline is not None
        assert not served.brain.programs


async def test_an_anthropic_client_becomes_a_program() -> None:
    def agent(url: str) -> str:
        with Client(url) as client, client.program("run") as program, anthropic.Anthropic(api_key="none") as sdk:
            with program.stage("write"):
                message = program.wrap(sdk).messages.create(
                    model=MODEL, max_tokens=4, messages=[{"role": "user", "content": "hi"}]
                )
            return message.content[0].type

    async with emulated() as served:
        assert await asyncio.to_thread(agent, served.url) == "text"
        (call,) = arrivals(served)
        assert (call.program.program, call.stage) == ("run", "write")


async def test_a_stream_that_is_refused_is_an_error() -> None:
    async with emulated() as served, AsyncClient(served.url) as client, client.program() as program:
        with pytest.raises(AgentserveError, match="gpt-9"):
            assert [piece async for piece in program.stream("hi", model="gpt-9")]


async def test_what_lies_ahead_of_a_call_reaches_the_brain() -> None:
    async with emulated() as served, AsyncClient(served.url) as client, client.program() as program:
        await program.chat("hi", model=MODEL, max_tokens=2, ahead=Ahead(3, siblings=2, join=True))
        await program.chat("hi", model=MODEL, max_tokens=2)
        assert [(call.remaining_calls, call.siblings, call.join) for call in arrivals(served)] == [
            (3, 2, True),
            (None, 0, False),
        ]
        (known,) = served.brain.programs.values()
        assert known.remaining_calls == 1, "of three calls two have been answered"
        program.hint(remaining_calls=7)
        await eventually(lambda: known.remaining_calls == 7, "the hint")


async def test_absurd_words_on_what_lies_ahead_are_refused() -> None:
    async with emulated() as served, AsyncClient(served.url) as client, client.program() as program:
        for name, ahead in (("remaining-calls", Ahead(-1)), ("siblings", Ahead(siblings=-1))):
            with pytest.raises(AgentserveError, match=f"x-agentserve-{name} must be a whole number"):
                await program.chat("hi", model=MODEL, ahead=ahead)
