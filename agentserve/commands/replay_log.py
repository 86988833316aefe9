"""`agentserve replay-log`: an event log through a fresh brain, to check that it decides the same or to look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.markup import escape

from agentserve.commands.common import JsonOption, fail, out, print_json
from agentserve.commands.progress import reading
from agentserve.config import Config, ConfigError, parse
from agentserve.gateway.server import listen as open_listener
from scheduler.log import LogError, replay

HERE = "127.0.0.1:8010"


def replay_log(
    file: Annotated[Path, typer.Argument(help="An event log that a gateway has written.")],
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show it in the browser, with a slider in time.")
    ] = False,
    listen: Annotated[str, typer.Option(help="HOST:PORT for --dashboard, on loopback.")] = HERE,
    as_json: JsonOption = False,
) -> None:
    """Replay an event log through a fresh brain, and tell whether it decides the same. Ends with code 1 if not."""
    try:
        if dashboard:
            _show(file, _address(listen))
            return
        with reading(file) as lines:
            outcome = replay(lines)
    except (OSError, UnicodeDecodeError, LogError) as error:
        fail(f"{file} cannot be replayed: {error}")
    difference = outcome.first_difference
    if as_json:
        told = {"events": outcome.events, "actions": outcome.actions, "first_difference": difference}
        print_json(told)
    else:
        out.print(f"{outcome.events} events led to {outcome.actions} actions")
        out.print(
            "every action is the recorded one"
            if difference is None
            else f"line {difference} is the first with other actions than recorded"
        )
    if difference is not None:
        raise typer.Exit(1)


def _address(listen: str) -> Config:
    """What is recorded names tenants and programs, so it is shown on this machine only."""
    try:
        return parse({"listen": listen, "pools": [{"model": "recorded", "engines": [{"url": "http://127.0.0.1:1"}]}]})
    except ConfigError as error:
        fail(f"--listen: {error}")


def _show(file: Path, address: Config) -> None:
    from agentserve.dashboard.recorded import app

    with reading(file) as lines:
        served = app(file, lines)
    with open_listener(address) as listener:
        host, port = listener.getsockname()[:2]
        out.print(f"http://{host}:{port}/dashboard shows {escape(str(file))}; Ctrl-C ends it")
        server = uvicorn.Server(uvicorn.Config(served, lifespan="off", log_config=None, ws="none"))
        server.run(sockets=[listener])
