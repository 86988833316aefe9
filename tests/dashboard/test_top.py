"""`agentserve top`, on a gateway that serves."""

from __future__ import annotations

import json
from io import StringIO

from rich.console import Console

from agentserve.commands.top import as_data, render
from agentserve.commands.words import duration
from agentserve.dashboard.reader import Picture
from tests.gateway.test_operate import NAMED, command
from tests.gateway.world import CHAT, chat, world

FRAME = {
    "at": 100.0,
    "whole": True,
    "new": [[1, "first", "default", "", None, 1.0], [2, "second", "default", "swe", None, 2.0]],
    "rows": [[1, 4, 90.0, "a", 500, 130.0, 0, 0, 3], [2, 0, 95.0, None, 0, 0, 1, 0, 0]],
    "engines": [
        ["a", "m", "up", 8000, 3500, 4000, 500, 0, 0, 2, 3, 1],
        ["b", "m", "failed: no such model", 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
    "tenants": [["default", 2, 1, 0]],
    "more": 0,
    "times": {"ttft": [0.25, 1.0, 2.0, 9], "call": None, "program": None},
    "pins": {"hit": 3, "broken": 1},
    "policy": {"at": 0.0, "name": "agentserve", "parts": {}},
    "tuner": [],
}


def picture() -> Picture:
    told = Picture()
    told.take(FRAME)
    return told


def drawn(told: Picture, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, record=True, file=StringIO())
    console.print(render(told, height))
    return console.export_text().splitlines()


def test_those_who_wait_come_first() -> None:
    lines = drawn(picture(), 100, 30)
    places = [next(number for number, line in enumerate(lines) if name in line) for name in ("second", "first  ")]
    assert places == sorted(places)
    assert any("queued" in line and "5.0s" in line for line in lines)


def test_an_engine_shows_what_holds_its_memory_and_one_that_failed_says_so() -> None:
    text = "\n".join(drawn(picture(), 120, 30))
    assert "█" * 12 + "▒▒" + "·" * 10 in text
    assert "failed: no such model" in text


def test_the_picture_fits_into_a_small_terminal() -> None:
    told = picture()
    told.take({"at": 101.0, "new": [[n, f"p{n}", "t", "", None, 1.0] for n in range(3, 200)]})
    told.take({"at": 101.0, "rows": [[n, 3, 1.0, "a", 5, 0, 0, 1, 0] for n in range(3, 200)]})
    lines = drawn(told, 80, 24)
    assert len(lines) <= 24
    assert any(line.startswith("and ") for line in lines)
    assert max(map(len, lines)) <= 80


def test_machines_get_the_same_as_data() -> None:
    data = as_data(picture())
    assert [(each["id"], each["state"]) for each in data["programs"]] == [("first", "retained"), ("second", "queued")]
    assert data["engines"][0]["active"] == 4000
    assert data["tenants"] == [{"tenant": "default", "programs": 2, "waiting": 1, "running": 0}]
    json.dumps(data)


def test_durations_are_short() -> None:
    assert [duration(value) for value in (0.42, 3.21, 45.0, 200.0, 7500.0)] == [
        "420ms",
        "3.2s",
        "45s",
        "3m20s",
        "2h05m",
    ]


async def test_a_gateway_is_shown_once_where_there_is_no_terminal() -> None:
    async with world() as w:
        await w.client.post(CHAT, json=chat(), headers=NAMED)
        shown = await command("top", "--url", w.url)
        assert shown.exit_code == 0
        assert "run/7" in shown.stdout
        told = json.loads((await command("top", "--url", w.url, "--json")).stdout)
        assert [each["id"] for each in told["programs"]] == ["run/7"]


async def test_a_gateway_that_is_not_there_is_a_mistake_of_one_line() -> None:
    shown = await command("top", "--url", "http://127.0.0.1:9")
    assert (shown.exit_code, "no gateway answers at http://127.0.0.1:9" in shown.stderr) == (2, True)
