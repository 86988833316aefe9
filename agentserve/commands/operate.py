"""The commands that ask a running gateway: `programs`, `engines` and `reload`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from agentserve.commands.asking import HERE, KeyOption, UrlOption, ask
from agentserve.commands.common import JsonOption, out, print_json
from agentserve.commands.words import short


def programs(
    url: UrlOption = HERE,
    key: KeyOption = "",
    ended: Annotated[bool, typer.Option("--ended", help="Those that have ended too, the latest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show no more than so many of each.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the programs of a running gateway: where they are, and what they have taken."""
    answer = ask(url, key, "/agentserve/v1/programs", {"limit": limit, "ended": ended})
    if as_json:
        print_json(answer)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("program", "tenant", "state", "engine"):
        table.add_column(name, overflow="fold")
    for name in ("context", "calls", "in", "cached", "out", "run", "wait", "cost"):
        table.add_column(name, justify="right", overflow="fold")
    for program in answer["programs"]:
        table.add_row(
            escape(program["id"]),
            escape(program["tenant"]),
            _state(program),
            program["engine"] or "",
            short(program["context_tokens"]),
            *_account(program["account"]),
        )
    for program in answer.get("ended", ()):
        table.add_row(escape(program["id"]), escape(program["tenant"]), "ended", "", "", *_account(program["account"]))
    out.print(table)


def reload(url: UrlOption = HERE, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """Have a running gateway, and the others of its cell, read their configuration again: policy, tenants, pools."""
    answer = ask(url, key, "/agentserve/v1/reload", {}, "POST")
    if as_json:
        print_json(answer)
        return
    out.print(f"changed: {', '.join(answer['changed']) or 'nothing'}")
    for label, name in (("joining", "joined"), ("leaving", "leaving"), ("only after a restart", "after_restart")):
        if answer[name]:
            out.print(f"{label}: {escape(', '.join(answer[name]))}")


def engines(url: UrlOption = HERE, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """List the engines of a running gateway: how they are, and what they can do."""
    answer = ask(url, key, "/agentserve/v1/engines", {})
    if as_json:
        print_json(answer)
        return
    table = Table("engine", "model", "url", "state", "KV tokens", "context", "pins", "priorities")
    for engine in answer["engines"]:
        spec = engine["spec"]
        known = ("", "", "", "")
        if spec is not None:
            yes = {True: "yes", False: "no"}
            known = (
                f"{spec['kv_tokens']:,}",
                f"{spec['max_model_len']:,}",
                yes[spec["retention"]],
                yes[spec["priority"]],
            )
        state = f"{engine['state']}: {engine['problem']}" if engine["problem"] else engine["state"]
        table.add_row(engine["name"], escape(engine["model"]), escape(engine["url"]), escape(state), *known)
    out.print(table)


def _state(program: dict[str, Any]) -> str:
    """What the program does now, in a few words."""
    if program["running"] or program["waiting"]:
        return ", ".join(f"{program[what]} {what}" for what in ("running", "waiting") if program[what])
    pinned = f", pin {program['pinned_seconds']:.0f} s" if program["pinned_seconds"] else ""
    return f"gap {program['gap_seconds'] or 0:.0f} s{pinned}"


def _account(account: dict[str, Any]) -> tuple[str, ...]:
    tokens = (short(account[name]) for name in ("calls", "prompt_tokens", "cached_tokens", "output_tokens"))
    seconds = (f"{account[name]:.1f}s" for name in ("engine_seconds", "queue_seconds"))
    return (*tokens, *seconds, f"{account['cost']:.6g}")
