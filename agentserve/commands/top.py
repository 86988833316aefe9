"""`agentserve top`: what a running gateway does, in the terminal, as it does it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from agentserve.commands.asking import HERE, KeyOption, UrlOption, refused
from agentserve.commands.common import JsonOption, check_url, fail, out, print_json
from agentserve.commands.words import duration, short
from agentserve.dashboard.reader import EngineRow, Picture, Row
from agentserve.dashboard.states import State
from scheduler.types import Seconds

PICTURES = 4
"""A second."""
AGAIN: Seconds = 1.0
"""Between two tries to reach a gateway that has gone."""
SILENCE: Seconds = 10.0
"""After which a gateway that says nothing is taken for gone; it says something every second."""
BAR = 24
"""Characters of an engine's memory."""
COLOURS = {
    State.QUEUED: "red",
    State.PREFILL: "yellow",
    State.MOVED: "magenta",
    State.DECODE: "blue",
    State.RETAINED: "green",
    State.GAP: "bright_black",
}
FIRST = (State.QUEUED, State.PREFILL, State.MOVED, State.DECODE, State.RETAINED, State.GAP)
"""Programs that wait come first, then those that run, then those in gaps; in each the longest first."""


def top(
    url: UrlOption = HERE,
    key: KeyOption = "",
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show engines, tenants and programs of a running gateway as they change. Ctrl-C ends it."""
    base = check_url(url)
    pictures = _pictures(base, key)
    try:
        first = next(pictures)
    except httpx.HTTPError as error:
        fail(f"no gateway answers at {base}: {error}; start one with `agentserve serve`, or name it with --url")
    if as_json:
        print_json(as_data(first))
    elif once or not out.is_terminal:
        out.print(render(first, out.height if out.is_terminal else 1000))
    else:
        _watch(base, key, first, pictures)


def _watch(base: str, key: str, first: Picture, pictures: Iterator[Picture]) -> None:
    with Live(render(first, out.height), console=out, screen=True, auto_refresh=False) as live:
        drawn = 0.0
        try:
            while True:
                try:
                    for picture in pictures:
                        if time.monotonic() - drawn >= 1 / PICTURES:
                            live.update(render(picture, out.height), refresh=True)
                            drawn = time.monotonic()
                    message = "the gateway has ended the feed"
                except httpx.HTTPError as error:
                    message = f"no gateway answers: {error}"
                live.update(Text(f"{base}: {message}; trying again", "bold red"), refresh=True)
                time.sleep(AGAIN)
                pictures = _pictures(base, key)
        except KeyboardInterrupt:
            return


def _pictures(base: str, key: str) -> Iterator[Picture]:
    """The picture after each frame, until the gateway ends the feed. Raises `httpx.HTTPError` if it cannot be reached."""
    picture = Picture()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(SILENCE)
    with httpx.stream(
        "GET", f"{base}/agentserve/v1/watch", headers=headers, timeout=timeout, trust_env=False
    ) as answer:
        if answer.status_code != httpx.codes.OK:
            answer.read()
            refused(base, "/agentserve/v1/watch", answer)
        for line in answer.iter_lines():
            if line.startswith("data: "):
                picture.take(json.loads(line[6:]))
                yield picture


def as_data(picture: Picture) -> dict[str, Any]:
    """The picture for machines."""
    return {
        "at": picture.at,
        "engines": [engine._asdict() for engine in picture.engines.values()],
        "programs": [{**row._asdict(), "state": row.state.name.lower()} for row in picture.rows.values()],
        "tenants": [
            dict(zip(("tenant", "programs", "waiting", "running"), each, strict=True))
            for each in picture.figures["tenants"]
        ],
        **{name: picture.figures[name] for name in ("times", "pins", "policy", "tuner")},
    }


def render(picture: Picture, height: int) -> RenderableType:
    """The picture in so many lines."""
    head = _head(picture)
    engines = _engines(list(picture.engines.values()))
    tenants = _tenants(picture.figures["tenants"])
    used = 6 + len(picture.engines) + min(len(picture.figures["tenants"]), 5) + 4
    return Group(head, engines, tenants, _programs(picture, max(height - used, 3)))


def _head(picture: Picture) -> Text:
    rows = picture.rows.values()
    waiting = sum(row.waiting for row in rows)
    running = sum(row.running for row in rows)
    times, pins = picture.figures["times"], picture.figures["pins"]
    parts = [
        f"{len(rows) + picture.figures['more']} programs",
        f"{running} calls on engines",
        f"{waiting} in line",
        *(f"{title} p50 {duration(found[0])} p95 {duration(found[1])}" for title, found in _known(times)),
        f"pins {pins.get('hit', 0)} hit {pins.get('broken', 0)} broken",
        f"policy {picture.figures['policy']['name']}",
    ]
    return Text(" · ".join(parts))


def _known(times: dict[str, list[float] | None]) -> Iterator[tuple[str, list[float]]]:
    for name, title in (("ttft", "first token"), ("program", "programs")):
        found = times.get(name)
        if found is not None:
            yield title, found


def _engines(engines: list[EngineRow]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("engine", no_wrap=True, overflow="ellipsis")
    table.add_column("KV", no_wrap=True)
    for name in ("active", "retained", "free", "of", "calls", "inside", "programs"):
        table.add_column(name, justify="right")
    for engine in engines:
        if not engine.capacity:
            table.add_row(escape(engine.name), Text(engine.status, "red", overflow="ellipsis"))
            continue
        label = Text(engine.name) if engine.status == "up" else Text(f"{engine.name} ({engine.status})", "red")
        sizes = (engine.active, engine.retained, max(engine.free, 0), engine.capacity)
        counts = (engine.running, engine.queued, engine.members)
        table.add_row(label, _bar(engine), *map(short, sizes), *map(str, counts))
    return table


def _bar(engine: EngineRow) -> Text:
    """Active, retained, left in gaps, and free."""
    bar, room = Text(), BAR
    for tokens, letter, state in (
        (engine.active + engine.foreign, "█", State.DECODE),
        (engine.retained, "▒", State.RETAINED),
        (engine.left, "░", State.GAP),
    ):
        width = min(round(BAR * tokens / engine.capacity), room)
        bar.append(letter * width, COLOURS[state])
        room -= width
    return bar.append("·" * room, "bright_black")


def _tenants(tenants: list[list[Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("tenant", no_wrap=True, overflow="ellipsis", max_width=30)
    for name in ("programs", "waiting", "running"):
        table.add_column(name, justify="right")
    for tenant, *numbers in sorted(tenants, key=lambda row: (-row[2], -row[1]))[:5]:
        table.add_row(escape(tenant), *map(str, numbers))
    return table


def _programs(picture: Picture, count: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("program", "tenant"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("state", no_wrap=True)
    table.add_column("for", justify="right", no_wrap=True)
    table.add_column("engine", no_wrap=True, overflow="ellipsis", max_width=16)
    for name in ("KV", "calls", "pin"):
        table.add_column(name, justify="right", no_wrap=True)
    ordered = sorted(picture.rows.values(), key=lambda row: (FIRST.index(row.state), row.since))
    for row in ordered[:count]:
        table.add_row(*_cells(row, picture.at))
    if len(ordered) > count:
        table.caption = f"and {len(ordered) - count} more"
        table.caption_justify = "left"
    return table


def _cells(row: Row, now: Seconds) -> Iterator[Text | str]:
    yield escape(row.id)
    yield escape(row.tenant)
    yield Text(row.state.name.lower(), COLOURS[row.state])
    yield duration(max(now - row.since, 0.0))
    yield row.engine or ""
    yield short(row.tokens) if row.tokens else ""
    yield str(row.served + row.running + row.waiting)
    yield duration(row.until - now) if row.until > now else ""
