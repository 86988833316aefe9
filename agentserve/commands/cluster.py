"""`agentserve cluster`: engines and gateways on Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from agentserve.cluster.section import ClusterFile, load_cluster
from agentserve.commands.common import JsonOption, fail, out, print_json
from agentserve.config import ConfigError

cluster = typer.Typer(no_args_is_help=True, help="Deploy engines and gateways on a Ray cluster.")

FileArgument = Annotated[Path, typer.Argument(help="The cluster file.")]


@cluster.command()
def up(file: FileArgument, as_json: JsonOption = False) -> None:
    """Deploy what the file says, and keep it up."""
    from agentserve.cluster import deploy

    chosen = _load(file)
    with _connected(deploy, chosen):
        deploy.up(chosen)
    _say(
        f"cluster {chosen.name} is being deployed; `agentserve cluster status {file}` shows how far it is",
        {"deploying": chosen.name},
        as_json=as_json,
    )


@cluster.command()
def down(file: FileArgument, as_json: JsonOption = False) -> None:
    """End everything that the file's cluster runs."""
    from agentserve.cluster import deploy

    chosen = _load(file)
    with _connected(deploy, chosen):
        deploy.down(chosen)
    _say(f"cluster {chosen.name} has ended", {"ended": chosen.name}, as_json=as_json)


@cluster.command()
def restart(file: FileArgument, as_json: JsonOption = False) -> None:
    """Restart the engines one by one; programs move away from each before it ends."""
    from agentserve.cluster import deploy

    chosen = _load(file)
    with _connected(deploy, chosen):
        names = deploy.restart(chosen)
    _say(f"restarted: {', '.join(names)}", {"restarted": list(names)}, as_json=as_json)


@cluster.command()
def status(file: FileArgument, as_json: JsonOption = False) -> None:
    """Show engines and gateways: how they are, and where."""
    from agentserve.cluster import deploy

    chosen = _load(file)
    with _connected(deploy, chosen):
        found = deploy.status(chosen)
    if as_json:
        print_json(found)
        return
    table = Table("part", "state", "address", "problem")
    for parts in (found["gateways"], found["engines"]):
        for name, part in parts.items():
            table.add_row(name, part["state"], part["url"], part["problem"])
    out.print(table)
    for model, held in found["at_zero"].items():
        out.print(f"{model} has no engine, and {held} calls are held until one has started")


def _say(text: str, document: object, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        out.print(text)


def _load(file: Path) -> ClusterFile:
    try:
        return load_cluster(file)
    except ConfigError as error:
        fail(str(error))


def _connected(deploy: Any, file: ClusterFile) -> Any:
    return deploy.connected(file, fail)
