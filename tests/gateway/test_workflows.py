"""Workflows through the gateway: objectives of declared ones, and what `agentserve workflows` shows."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from agentserve import AgentserveError, AsyncClient, Client, Stage
from agentserve.cli import app
from tests.gateway.world import CHAT, World, chat, eventually, until_idle, world

DECLARED = [{"name": "sql", "slo": 60, "stages": {"plan": {}, "write": {"after": ["plan"], "retries": 2}}}]
PATH = "/agentserve/v1/workflows"


def headers(program: str, stage: str, workflow: str = "sql", **more: str) -> dict[str, str]:
    named = {"program": program, "stage": stage, "workflow": workflow, **more}
    return {f"x-agentserve-{name.replace('_', '-')}": value for name, value in named.items()}


async def query(w: World, program: str) -> None:
    for stage, final in (("plan", "false"), ("write", "false"), ("write", "true")):
        answer = await w.client.post(CHAT, json=chat(), headers=headers(program, stage, final=final))
        assert answer.status_code == 200


async def show(w: World, *options: str) -> str:
    shown = await asyncio.to_thread(
        CliRunner().invoke, app, ["workflows", "--url", w.url, *options], env={"COLUMNS": "200"}
    )
    assert shown.exit_code == 0, shown.output
    return shown.output


async def test_what_is_declared_and_what_was_learned_stand_side_by_side() -> None:
    async with world(workflows=DECLARED) as w:
        await query(w, "p")
        (workflow,) = (await w.client.get(PATH)).json()["workflows"]
        assert (workflow["tenant"], workflow["workflow"], workflow["slo_seconds"]) == ("default", "sql", 60.0)
        plan, write = workflow["stages"]
        assert (plan["stage"], plan["calls"], plan["repeats"]) == ("plan", 1, {"1": 1.0})
        assert (write["after"], write["retries"], write["calls"], write["repeats"]) == (["plan"], 2, 2, {"2": 1.0})
        assert set(write["service_seconds"]) == {w.engine.name}


async def test_a_declared_workflow_that_nobody_has_used_has_no_figures() -> None:
    async with world(workflows=DECLARED) as w:
        (workflow,) = (await w.client.get(PATH)).json()["workflows"]
        assert [stage["output_tokens"] for stage in workflow["stages"]] == [None, None]


async def test_a_workflow_is_learned_from_stage_headers_alone() -> None:
    async with world() as w:
        await query(w, "p")
        (workflow,) = (await w.client.get(PATH)).json()["workflows"]
        assert workflow["slo_seconds"] is None
        assert [(stage["stage"], stage["declared"]) for stage in workflow["stages"]] == [
            ("plan", False),
            ("write", False),
        ]


@pytest.mark.parametrize(("more", "left"), [({}, 60.0), ({"deadline_ms": "5000"}, 5.0)])
async def test_calls_of_a_declared_workflow_have_its_objective_unless_they_say_another(
    more: dict[str, str], left: float
) -> None:
    async with world(workflows=DECLARED) as w:
        w.engine.script.append(asyncio.Event())
        answer = asyncio.create_task(w.client.post(CHAT, json=chat(), headers=headers("p", "plan", **more)))
        await eventually(lambda: bool(w.brain.calls), "the call's arrival")
        (call,) = w.brain.calls.values()
        assert call.deadline == pytest.approx(call.program.arrived + left)
        answer.cancel()
        await until_idle(w.brain)


async def test_the_command_shows_a_table_or_json() -> None:
    async with world(workflows=DECLARED) as w:
        assert "sql of default, within 60 s" in await show(w)
        assert json.loads(await show(w, "--json"))[0]["workflow"] == "sql"
        await query(w, "p")
        assert "2: 100%" in await show(w)


async def test_the_command_says_what_to_do_where_nothing_is_known() -> None:
    async with world() as w:
        assert "x-agentserve-workflow" in await show(w)


def test_the_command_says_that_no_gateway_answers() -> None:
    shown = CliRunner().invoke(app, ["workflows", "--url", "http://127.0.0.1:9"])
    assert shown.exit_code == 2
    assert "start one with `agentserve serve`" in " ".join(shown.output.split())


async def test_what_is_declared_decides_before_any_traffic() -> None:
    async with world(workflows=DECLARED) as w:
        plan = w.driver.brain.plans["sql"]
        assert plan.ahead("plan", 0, lambda _: 1.0) == pytest.approx(1 + 0.5 + 0.25)


async def test_a_workflow_is_declared_from_python() -> None:
    async with world() as w, AsyncClient(w.url) as client:
        await client.declare("sql", {"plan": Stage(), "write": Stage(after=["plan"], retries=2)}, slo=60)
        (workflow,) = (await w.client.get(PATH)).json()["workflows"]
        assert (workflow["workflow"], workflow["slo_seconds"]) == ("sql", 60.0)
        assert [(stage["stage"], stage["after"], stage["retries"]) for stage in workflow["stages"]] == [
            ("plan", [], 0),
            ("write", ["plan"], 2),
        ]
        assert "sql" in w.brain.plans


@pytest.mark.parametrize(
    ("stages", "slo", "named"),
    [
        ({"plan": Stage(after=["write"]), "write": Stage(after=["plan"])}, None, "cycle"),
        ({"plan": Stage(after=["none"])}, None, "'none'"),
        ({"plan": Stage()}, 0.0, "slo"),
        ({}, None, "stages"),
    ],
)
async def test_a_declaration_that_cannot_be_is_refused(stages: dict[str, Stage], slo: float | None, named: str) -> None:
    async with world() as w, AsyncClient(w.url) as client:
        with pytest.raises(AgentserveError, match=named):
            await client.declare("sql", stages, slo)
        assert (await w.client.get(PATH)).json()["workflows"] == []


async def test_a_blocking_client_declares_too() -> None:
    async with world() as w:
        with Client(w.url) as client:
            await asyncio.to_thread(client.declare, "sql", {"plan": Stage()})
        assert [each["workflow"] for each in (await w.client.get(PATH)).json()["workflows"]] == ["sql"]
