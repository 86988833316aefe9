"""Graphs whose LLM nodes are calls of a program, through a real gateway with an emulated engine behind it."""

from __future__ import annotations

from collections.abc import Mapping

from agentserve import AsyncClient, Graph, tool
from agentserve.graphs import Prompt, State
from scheduler.events import CallArrived, ToolStarted
from tests.client.emulated import MODEL, Served, emulated


@tool(effect="pure")
async def look(what: str) -> str:
    return f"<{what}>"


def stages(served: Served) -> dict[str, CallArrived]:
    return {event.stage: event for event in served.brain.heard if isinstance(event, CallArrived)}


async def test_llm_nodes_tell_their_stage_what_is_ahead_and_which_is_the_last() -> None:
    async with emulated() as served, AsyncClient(served.url) as client, client.program("run") as program:
        graph = Graph(program, model=MODEL, max_tokens=4)
        left = graph.llm("left", stage="draft")
        right = graph.llm(f"right of {graph.tool(look, left)}", stage="revise")
        last = graph.llm([{"role": "user", "content": f"{left} or {right}"}], stage="judge")
        outcome = await graph.run(final=True)
        assert outcome[last]
        assert outcome.answers["4"].text == outcome[last]
        calls = stages(served)
        assert {stage: call.remaining_calls for stage, call in calls.items()} == {"draft": 3, "revise": 2, "judge": 1}
        assert {stage: call.final for stage, call in calls.items()} == {"draft": False, "revise": False, "judge": True}
        assert {call.program.program for call in calls.values()} == {"run"}


async def test_llm_nodes_tell_which_run_beside_them_and_that_a_join_is_ahead() -> None:
    async with emulated() as served, AsyncClient(served.url) as client, client.program() as program:
        graph = Graph(program, model=MODEL, max_tokens=4)
        left, right = graph.llm("left", stage="left"), graph.llm("right", stage="right")
        graph.llm(f"{left} {graph.tool(look, right)}", stage="join")
        await graph.run()
        said = {stage: (call.siblings, call.join) for stage, call in stages(served).items()}
        assert said["left"] == (1, True)
        assert said["join"] == (0, False)


async def test_plans_name_prompts_and_join_what_was_found() -> None:
    joined: list[Mapping[str, object]] = []

    def join(found: Mapping[str, object]) -> str:
        joined.append(found)
        return f"summarise {found}"

    prompts = [Prompt("write", lambda topic: f"write about {topic}"), Prompt("join", join, join=True)]
    async with emulated() as served, AsyncClient(served.url) as client, client.program() as program:
        graph = Graph(program, tools=[look], prompts=prompts, model=MODEL, max_tokens=4)
        outcome = await graph.run('1. look("rome")\n2. write("$1")\n3. look("oslo", 4)\n4. join()\n')
        assert outcome["4"]
        assert joined == [{"1": "<rome>", "2": outcome["2"], "3": None}]
        assert outcome.states["3"] is State.FAILED, "it takes one argument"
        assert list(stages(served)) == ["write", "join"]


async def test_a_call_that_is_refused_fails_its_node() -> None:
    async with emulated() as served, AsyncClient(served.url) as client, client.program() as program:
        graph = Graph(program)
        node = graph.llm("hello", model="gpt-9")
        outcome = await graph.run()
        assert "gpt-9" in str(outcome.errors[node.strip("${}")])


async def test_a_streamed_plan_comes_from_the_program_itself() -> None:
    async with emulated() as served, AsyncClient(served.url) as client, client.program() as program:
        graph = Graph(program, tools=[look])
        outcome = await graph.run(program.stream("plan", model=MODEL, stage="plan", max_tokens=8))
        assert outcome.values == {}, "an emulated model writes no plan"
        assert list(stages(served)) == ["plan"]
        assert not served.heard(ToolStarted)
