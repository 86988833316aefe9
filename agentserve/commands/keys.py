"""`agentserve keys`: API keys of tenants and operators. A key is shown once, when it is made."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from agentserve.commands.common import JsonOption, err, fail, out, print_json
from agentserve.gateway.tenants.keys import Issued, Key, KeyRing, KeysError, Role, changing, load_keys
from agentserve.sections import in_seconds
from scheduler.types import Seconds

keys = typer.Typer(no_args_is_help=True, help="API keys: create, list, rotate, revoke.")

File = Annotated[Path, typer.Option("--file", help="The key file, which the configuration names as `keys`.")]
FILE = Path("keys.json")


@keys.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Whose calls are made with it.")],
    admin: Annotated[bool, typer.Option("--admin", help="It opens the operators' routes too.")] = False,
    expires: Annotated[str | None, typer.Option(help="For how long it is good: 12h, 90d. For good without.")] = None,
    file: File = FILE,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    lasts = None if expires is None else _duration("--expires", expires)
    with _changing(file) as ring:
        issued = ring.create(tenant, time.time(), role=Role.ADMIN if admin else Role.CLIENT, lasts=lasts)
    _show(issued, as_json=as_json)


@keys.command("list")
def list_keys(file: File = FILE, as_json: JsonOption = False) -> None:
    """List the keys: ids and whose they are, never the keys themselves."""
    try:
        ring = load_keys(file)
    except KeysError as error:
        fail(str(error))
    if as_json:
        print_json({"keys": [_public(key) for key in ring.keys.values()]})
        return
    table, now = Table("id", "tenant", "role", "created", "expires"), time.time()
    for key in ring.keys.values():
        end = "never" if key.expires is None else _day(key.expires)
        table.add_row(key.id, key.tenant, key.role, _day(key.created), f"{end} (expired)" if key.expired(now) else end)
    out.print(table)


@keys.command()
def rotate(
    name: Annotated[str, typer.Argument(metavar="ID", help="The id of the key, as `list` shows it.")],
    grace: Annotated[str, typer.Option(help="For how long the old one still opens: 0s, 1h, 7d.")] = "24h",
    file: File = FILE,
    as_json: JsonOption = False,
) -> None:
    """Make a key in place of another, and let that one end after a while."""
    seconds = _duration("--grace", grace)
    with _changing(file) as ring:
        issued = ring.rotate(name, time.time(), seconds)
    _show(issued, as_json=as_json)


@keys.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="ID", help="The id of the key, as `list` shows it.")],
    file: File = FILE,
    as_json: JsonOption = False,
) -> None:
    """Take a key away. A running gateway knows within seconds."""
    with _changing(file) as ring:
        key = ring.revoke(name)
    if as_json:
        print_json({"revoked": _public(key)})
        return
    err.print(f"revoked {key.id} of tenant {key.tenant}")


@contextmanager
def _changing(file: Path) -> Iterator[KeyRing]:
    try:
        with changing(file) as ring:
            yield ring
    except KeysError as error:
        fail(str(error))


def _public(key: Key) -> dict[str, object]:
    """What may be told of a key; times are in seconds since 1970."""
    return {name: getattr(key, name) for name in ("id", "tenant", "role", "created", "expires")}


def _show(issued: Issued, *, as_json: bool) -> None:
    key = issued.key
    if as_json:
        print_json({**_public(key), "key": issued.text})
        return
    err.print(f"{key.role} key {key.id} of tenant {key.tenant}; it is shown this once:")
    typer.echo(issued.text)


def _duration(option: str, text: str) -> Seconds:
    seconds = in_seconds(text)
    if not isinstance(seconds, float):
        fail(f"{option} is a number with a unit, for example 12h or 90d, not {text!r}")
    return seconds


def _day(at: Seconds) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
