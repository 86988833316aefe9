"""`agentserve doctor`: checks an installation, and says what to fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from agentserve import __version__
from agentserve.commands.common import JsonOption, out, print_json
from agentserve.config import Config
from agentserve.doctor.check import Check, Level, ok
from agentserve.doctor.configured import configured, read
from agentserve.doctor.engine import engine
from agentserve.doctor.machine import machine

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


def doctor(
    config: Annotated[Path | None, typer.Option(help="A configuration file: what it names is checked too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this installation, and say what to fix. Ends with code 1 if something that is wanted does not work."""
    checks = list(_checks(config))
    if as_json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            _print(check)
    if any(check.level is Level.PROBLEM for check in checks):
        raise typer.Exit(1)


def _checks(path: Path | None) -> Iterator[Check]:
    yield ok("agentserve", __version__)
    yield from machine()
    config = None if path is None else read(path)
    launches = isinstance(config, Config) and any(each.launch for _, each in config.engines)
    yield from engine(launches=launches)
    if path is not None and isinstance(config, Config):
        yield from configured(path, config)
    elif isinstance(config, Check):
        yield config


def _print(check: Check) -> None:
    style = STYLES[check.level]
    out.print(f"[{style}]{check.level:<8}[/] {check.name}: {escape(check.found)}", soft_wrap=True)
    if check.fix:
        out.print(f"         [dim]to fix:[/] {escape(check.fix)}", soft_wrap=True)
