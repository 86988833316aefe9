"""The gateway's log, as people and machines read it."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentserve.config import LogSection
from agentserve.gateway.calllines import PROMPTS
from agentserve.logs import configure
from tests.gateway.world import CHAT, chat, until_idle, world

DOCUMENTED = Path(__file__).parents[2] / "docs" / "observability.md"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Puts the process's logging back as it was."""
    root, ours, prompts = logging.getLogger(), logging.getLogger("agentserve"), logging.getLogger(PROMPTS)
    before = root.handlers[:], ours.level, prompts.level
    root.handlers.clear()
    yield
    root.handlers[:] = before[0]
    ours.setLevel(before[1])
    prompts.setLevel(before[2])


async def lines_of(capsys: pytest.CaptureFixture[str], section: LogSection) -> list[dict[str, object]]:
    """The log of a gateway that serves one call."""
    configure(section)
    async with world(log=section.model_dump()) as w:
        await w.client.post(CHAT, json=chat("a secret"), headers={"x-agentserve-program": "p"})
        await until_idle(w.brain)
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def test_each_line_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await lines_of(capsys, LogSection(format="json"))
    assert any(str(line["message"]).startswith("engine a is up") for line in lines)
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", str(line["time"]))


async def test_a_call_has_its_line_if_asked_for_and_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await lines_of(capsys, LogSection(format="json", calls=True))
    (line,) = [line for line in lines if line["logger"] == "agentserve.calls"]
    told = {name: line[name] for name in ("program", "tenant", "model", "status", "engine", "why", "attempts")}
    assert told == {
        "program": "p",
        "tenant": "default",
        "model": "m",
        "status": "finished",
        "engine": "a",
        "why": "direct",
        "attempts": 1,
    }
    assert (line["prompt_tokens"], line["output_tokens"]) == (12, 2)
    assert "secret" not in json.dumps(lines)


async def test_prompts_are_logged_only_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await lines_of(capsys, LogSection(format="json", prompts=True))
    (line,) = [line for line in lines if line["logger"] == PROMPTS]
    assert "a secret" in str(line["message"])
    assert line["call"]


def test_an_exception_is_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSection(format="json"))
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("agentserve.x").exception("it failed")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"]) == ("error", "it failed")
    assert "ValueError: broken" in line["exception"]


def test_people_read_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSection())
    logging.getLogger("agentserve.x").info("engine a is up")
    assert "engine a is up" in capsys.readouterr().err


async def test_every_metric_is_documented_and_every_documented_one_is_there() -> None:
    async with world(prices={"m": {"input": 1.0}}) as w:
        await w.client.post(CHAT, json=chat(stream=True))
        text = (await w.client.get("/metrics")).text
    types = dict(re.findall(r"^# TYPE (agentserve_\w+) (\w+)$", text, re.MULTILINE))
    there = {name for name, kind in types.items() if not name.endswith("_created")}
    documented = set(re.findall(r"^\| `(agentserve_\w+)` \|", DOCUMENTED.read_text(), re.MULTILINE))
    optional = {"agentserve_recording_lost_total"}
    assert there == documented - optional
