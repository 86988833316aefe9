"""`agentserve explain`: why a call waited, where it went and whether its KV was kept, from the event log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from agentserve import telling
from agentserve.commands.common import JsonOption, err, fail, out


def explain(
    call: Annotated[str, typer.Argument(help="The call, as the answer's header x-agentserve-call names it.")],
    log: Annotated[Path, typer.Option(help="The event log of the gateway that served it (`event_log:`).")],
    as_json: JsonOption = False,
) -> None:
    """Tell why a call waited, where it went, and whether its program's KV was kept. Reads the whole log up to it."""
    try:
        with err.status(f"reading {escape(str(log))}"):
            story = telling.moments(log, call)
    except telling.StoryError as error:
        fail(str(error))
    if as_json:
        typer.echo(telling.as_json(call, story))
        return
    out.print(f"call {escape(call)}, in seconds from its arrival")
    for moment in story:
        out.print(f"{moment.at:+10.3f}  {escape(moment.text)}", soft_wrap=True)
