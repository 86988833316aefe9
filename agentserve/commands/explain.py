"""`agentserve explain`: why a call waited, where it went and whether its KV was kept, from the event log."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from agentserve.commands.asking import JsonOption
from agentserve.commands.common import fail, out
from scheduler.log import LogError
from scheduler.story import UnknownCallError, tell
from scheduler.types import CallId


def explain(
    call: Annotated[str, typer.Argument(help="The call, as the answer's header x-agentserve-call names it.")],
    log: Annotated[Path, typer.Option(help="The event log of the gateway that served it (`event_log:`).")],
    as_json: JsonOption = False,
) -> None:
    """Tell why a call waited, where it went, and whether its program's KV was kept. Reads the whole log up to it."""
    try:
        with log.open(encoding="utf-8") as lines:
            whole = (line for line in lines if line.endswith("\n"))  # a gateway that runs may be writing the last one
            moments = tell(whole, CallId(call))
    except (OSError, UnicodeDecodeError, LogError) as error:
        fail(f"{log} cannot be read: {error}")
    except UnknownCallError as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({"call": call, "moments": [asdict(moment) for moment in moments]}, indent=2))
        return
    out.print(f"call {escape(call)}, in seconds from its arrival")
    for moment in moments:
        out.print(f"{moment.at:+10.3f}  {escape(moment.text)}", soft_wrap=True)
