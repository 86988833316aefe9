"""The examples against a real gateway with an emulated engine."""

from __future__ import annotations

import subprocess
import sys

from agentserve import AsyncClient
from agentserve.examples import agents, guide, parallel
from agentserve.graphs import State
from scheduler.events import CallArrived
from tests.client.emulated import MODEL, Served, emulated


def calls(served: Served) -> list[CallArrived]:
    return [event for event in served.brain.heard if isinstance(event, CallArrived)]


async def test_parallel_calls_are_joined() -> None:
    async with emulated() as served, AsyncClient(served.url) as client:
        assert (await parallel.example(client, MODEL)).startswith("19.4 and 5.1 times: ")
        assert [call.stage for call in calls(served)] == ["join"]
        assert not served.brain.programs


async def test_the_guide_takes_one_branch_and_reports() -> None:
    async with emulated() as served, AsyncClient(served.url) as client:
        outcome = (await guide.troubleshoot(client, MODEL)).check()
        assert outcome["restart"] == "checkout restarted"
        assert outcome.states["load"] is State.SKIPPED
        assert [(call.stage, call.remaining_calls) for call in calls(served)] == [("cause", 2), ("report", 1)]


async def test_sub_agents_are_programs_with_a_parent() -> None:
    async with emulated() as served, AsyncClient(served.url) as client:
        values = await agents.fan_out(client, MODEL)
        assert set(values) == {*agents.TOPICS, "summary"}
        made = calls(served)
        (summary,) = [call for call in made if call.stage == "summary"]
        researched = [call for call in made if call.stage == "research"]
        assert len(researched) == len(agents.TOPICS) * agents.TURNS
        assert {call.parent for call in researched} == {summary.program}
        assert len({call.program for call in researched}) == len(agents.TOPICS)


def test_an_example_that_finds_no_gateway_says_so() -> None:
    command = [sys.executable, "-P", "-m", "agentserve.examples.agents", "--url", "http://127.0.0.1:1", "--model", "m"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    assert "no answer from the gateway" in outcome.stderr
