"""What the commands share: two consoles, mistakes told in one message, and checks before any work is done."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
from collections.abc import Coroutine, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Never, TypeAlias, TypeVar
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.markup import escape

from agentserve.policyfile import read_policy
from scheduler import registry
from scheduler.policy import PRESETS, PolicyConfig, PolicyError, parse_policy

T = TypeVar("T")

JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
FiguresOption: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write the document that --json prints here.")
]

out = Console(highlight=False)
err = Console(highlight=False, stderr=True)


def fail(message: str) -> Never:
    """Ends the command because of a mistake of its user."""
    err.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(2)


def print_json(answer: object) -> None:
    """Prints it for machines."""
    typer.echo(json.dumps(answer, indent=2))


def warn(message: str) -> None:
    """Tells what its user should know of what came of the command."""
    err.print(f"[bold yellow]warning:[/] {escape(message)}", soft_wrap=True)


def interrupted(what: str = "nothing was written") -> Never:
    """Ends the command on Ctrl-C."""
    err.print(f"interrupted; {what}")
    raise typer.Exit(130) from None


def run_interruptibly(main: Coroutine[Any, Any, T]) -> T:
    """Runs it as a task that is cancelled by Ctrl-C, SIGTERM and a terminal that goes away, so that nothing it started
    outlives the command. Only the first of these signals counts: a second one does not cut its ending short.

    Raises:
        CancelledError: it was interrupted, and has ended what it started.
    """

    async def guarded() -> T:
        task = asyncio.ensure_future(main)

        def interrupt() -> None:
            if not task.cancelling():
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, interrupt)
        return await task

    return asyncio.run(guarded())


def check_output(*paths: Path | None) -> None:
    """Ends the command if one of the files that it is to write cannot be there."""
    for path in paths:
        reason = None if path is None else _unwritable(path)
        if reason is not None:
            fail(f"{path} cannot be written: {reason}")


def _unwritable(path: Path) -> str | None:
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"{folder} is no folder"
    if path.exists() and not path.is_file():
        return "what is there is no file"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"no files may be put into {folder}"
    if path.exists() and not os.access(path, os.W_OK):
        return "it is there, and may not be changed"
    return None


def check_rate(rate: float | None) -> None:
    """Ends the command if no programs would ever come."""
    if rate is not None and not rate > 0:
        fail(f"--rate must be above 0 programs a second, not {rate:g}")


def check_url(url: str) -> str:
    """The base URL of a server, without a slash or /v1 at its end; ends the command if it is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number, or the brackets of an address do not match
        valid = False
    if not valid or any(letter.isspace() for letter in url):
        fail(f"--url is a base URL as http://127.0.0.1:8101, not {url!r}")
    return url.rstrip("/").removesuffix("/v1")


def command_line(context: typer.Context, name: str) -> str:
    """The command as its user gave it, so that it can be given again; what was left out has its usual value."""
    return shlex.join(["agentserve", name, *_words(context)])


def _words(context: typer.Context) -> Iterator[str]:
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[parameter.name or ""]
        is_option = parameter.param_type_name == "option"
        if isinstance(value, bool):
            yield parameter.opts[0] if value else parameter.secondary_opts[0]
            continue
        if is_option:
            yield parameter.opts[0]
        yield str(value.value if isinstance(value, Enum) else value)


def read_policies(text: str) -> list[PolicyConfig]:
    """The policies of a list of preset names and policy files.

    Raises:
        PolicyError: one is neither, is not valid, or is there twice.
    """
    chosen = [_read_policy(part.strip()) for part in text.split(",")]
    names = [policy.name for policy in chosen]
    for name in names:
        if names.count(name) > 1:
            raise PolicyError(f"policy {name!r} is there twice")
    for policy in chosen:
        registry.build(policy)
    return chosen


def _read_policy(part: str) -> PolicyConfig:
    path = Path(part)
    return parse_policy(part) if part in PRESETS or not path.is_file() else read_policy(path)
