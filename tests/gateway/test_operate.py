"""The commands that ask a running gateway, and `explain` on what it has logged."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentserve.cli import app
from tests.gateway.world import CHAT, chat, world

NAMED = {"x-agentserve-program": "run/7", "x-agentserve-workflow": "swe"}


async def command(*args: object) -> Result:
    """Runs a command in a thread, so that the gateway can answer it."""
    arguments = [str(arg) for arg in args]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env={"COLUMNS": "200"}, catch_exceptions=False)


async def test_programs_are_listed_with_what_they_took() -> None:
    async with world() as w:
        await w.client.post(CHAT, json=chat(), headers=NAMED)
        ended = {"x-agentserve-program": "past", "x-agentserve-final": "true"}
        await w.client.post(CHAT, json=chat(), headers=ended)
        shown = await command("programs", "--url", w.url)
        assert shown.exit_code == 0
        assert "run/7" in shown.stdout
        assert "gap " in shown.stdout
        assert "past" not in shown.stdout
        assert "past" in (await command("programs", "--url", w.url, "--ended")).stdout
        listed = json.loads((await command("programs", "--url", w.url, "--json")).stdout)
        assert [(each["id"], each["account"]["calls"]) for each in listed["programs"]] == [("run/7", 1)]


async def test_engines_are_listed_with_what_they_can_do() -> None:
    async with world() as w:
        shown = await command("engines", "--url", w.url)
        assert shown.exit_code == 0
        assert "http://fake" in shown.stdout
        assert "8,192" in shown.stdout
        listed = json.loads((await command("engines", "--url", w.url, "--json")).stdout)
        assert [(each["name"], each["state"]) for each in listed["engines"]] == [("a", "up")]


@pytest.mark.parametrize("name", ["programs", "engines"])
async def test_a_gateway_that_is_not_there_is_a_mistake_of_one_line(name: str) -> None:
    shown = await command(name, "--url", "http://127.0.0.1:9")
    assert shown.exit_code == 2
    assert "no gateway answers at http://127.0.0.1:9" in shown.stderr


async def test_a_call_is_explained_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    async with world(event_log=str(log)) as w:
        answer = await w.client.post(CHAT, json=chat("a secret"), headers=NAMED)
        call = answer.headers["x-agentserve-call"]
    assert "secret" not in log.read_text()
    shown = await command("explain", call, "--log", log)
    assert shown.exit_code == 0
    assert "goes to a after 0.000 s" in shown.stdout
    told = json.loads((await command("explain", call, "--log", log, "--json")).stdout)
    assert told["call"] == call
    assert told["moments"][0]["at"] == 0.0
    wrong = await command("explain", "nothing", "--log", log)
    assert (wrong.exit_code, "the log has no call 'nothing'" in wrong.stderr) == (2, True)


async def test_a_log_that_is_being_written_can_be_read(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    async with world(event_log=str(log)) as w:
        call = (await w.client.post(CHAT, json=chat())).headers["x-agentserve-call"]
    log.write_text(log.read_text() + '{"event": "Wake')
    assert (await command("explain", call, "--log", log)).exit_code == 0


async def test_a_log_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    shown = await command("explain", "c", "--log", tmp_path / "none.jsonl")
    assert (shown.exit_code, "cannot be read" in shown.stderr) == (2, True)
