"""`agentserve workflows`: what a gateway knows of workflows and their stages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import httpx
import typer
from rich.markup import escape
from rich.table import Table

from agentserve.commands.common import check_url, fail, out

PATH = "/agentserve/v1/workflows"


def workflows(
    url: Annotated[str, typer.Option(help="The gateway's base URL.")] = "http://127.0.0.1:8000",
    as_json: Annotated[bool, typer.Option("--json", help="Print what the gateway answers.")] = False,
) -> None:
    """Show the workflows that a running gateway has been told of or has seen, and what it has learned of their stages."""
    found = _ask(check_url(url))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif not found:
        out.print("no workflow is declared, and no call has named a stage yet (x-agentserve-workflow, -stage)")
    else:
        for workflow in found:
            out.print(_table(workflow))


def _ask(url: str) -> list[Mapping[str, Any]]:
    try:
        answer = httpx.get(url + PATH, timeout=10.0)
        answer.raise_for_status()
        found: list[Mapping[str, Any]] = answer.json()["workflows"]
    except httpx.HTTPStatusError as error:
        fail(f"{url} answers {PATH} with {error.response.status_code}; is that an agentserve gateway of this version?")
    except httpx.HTTPError as error:
        fail(f"no gateway answers at {url} ({error}); start one with `agentserve serve`, or name it with --url")
    except (ValueError, KeyError, TypeError):
        fail(f"{url} answers {PATH} with something else; is that an agentserve gateway?")
    return found


def _table(workflow: Mapping[str, Any]) -> Table:
    slo = workflow["slo_seconds"]
    title = f"{workflow['workflow'] or '(unnamed)'} of {workflow['tenant']}"
    table = Table(title=escape(title) + ("" if slo is None else f", within {slo:g} s"), title_justify="left")
    for column in ("stage", "after", "calls", "a program", "output", "template", "alone, s", "ahead, s", "service, s"):
        table.add_column(column, overflow="fold")
    for stage in workflow["stages"]:
        table.add_row(*_row(stage))
    return table


def _row(stage: Mapping[str, Any]) -> Iterator[str]:
    yield escape(stage["stage"] + ("" if stage["declared"] else " (seen)"))
    yield escape(", ".join(stage["after"]))
    yield str(stage["calls"])
    yield ", ".join(f"{calls}: {share:.0%}" for calls, share in stage["repeats"].items())
    for name, digits in (("output_tokens", 0), ("template_tokens", 0), ("alone_seconds", 2), ("ahead_seconds", 2)):
        yield "" if stage[name] is None else f"{stage[name]:.{digits}f}"
    yield escape(", ".join(f"{engine} {seconds:.2f}" for engine, seconds in stage["service_seconds"].items()))
