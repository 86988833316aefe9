"""`agentserve workflows`: what a gateway knows of workflows and their stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from agentserve.commands.asking import HERE, KeyOption, UrlOption, ask
from agentserve.commands.common import JsonOption, out, print_json


def workflows(url: UrlOption = HERE, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """Show the workflows that a running gateway has been told of or has seen, and what it has learned of their stages."""
    found = ask(url, key, "/agentserve/v1/workflows", {})["workflows"]
    if as_json:
        print_json(found)
    elif not found:
        out.print("no workflow is declared, and no call has named a stage yet (x-agentserve-workflow, -stage)")
    else:
        for workflow in found:
            out.print(_table(workflow))


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
