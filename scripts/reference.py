"""Writes the pages of the reference that follow from the code: every key of a configuration, every command's options, and
every policy's rule.

python scripts/reference.py            (writes docs/configuration.md, docs/commands.md and docs/rules.md)
"""

from __future__ import annotations

import ast
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from agentserve.cli import app
from agentserve.config import Config
from agentserve.sections import Section
from scheduler import registry

DOCS = Path(__file__).parent.parent / "docs"
RULES = """# Rules of the policies

Every policy with its rule, its source and its parameters, as its module says; [Policies](policies.md) tells how they are put
together, and what the presets are. Times are seconds, sizes are tokens. `agentserve policies` lists the same in short.
"""
TOP = """# Configuration

Every key of the file that `agentserve serve --config FILE` reads; `agentserve check-config FILE` checks one. Unknown keys
are errors that name the nearest valid one. Durations are seconds, or have a unit: `30s`, `10m`, `1h`, `7d`.

This page is written by `python scripts/reference.py` from `agentserve/config.py`.
"""
COMMANDS = """# Commands

`agentserve COMMAND --help` says the same. A command ends with 0 when it has done what it was asked, with 1 when it has
not (an engine does not come up, a check fails; the last line says why), and with 2 when it was asked wrongly.

This page is written by `python scripts/reference.py` from the commands themselves.
"""


def configuration() -> str:
    """The page of all sections, each after the one that names it first."""
    found: dict[type[Section], str] = {}
    _collect(Config, "", found)
    parts = [TOP]
    for section, path in found.items():
        title = f"`{path}`" if path else "The file"
        parts.append(f"\n## {title}\n\n{inspect.getdoc(section)}\n\n| key | default | |\n|---|---|---|\n")
        parts += _rows(section)
    return "".join(parts)


def _collect(section: type[Section], path: str, found: dict[type[Section], str]) -> None:
    if section in found:
        return
    found[section] = path
    for name, field in section.model_fields.items():
        for inner in _sections(field.annotation):
            mark = "[]" if typing.get_origin(field.annotation) is list else ""
            _collect(inner, f"{path}.{name}{mark}".lstrip("."), found)


def _sections(annotation: object) -> Iterator[type[Section]]:
    """The sections that a field's type is made of."""
    if inspect.isclass(annotation) and issubclass(annotation, Section):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _sections(argument)


def _rows(section: type[Section]) -> Iterator[str]:
    told = _told(section)
    for name, field in section.model_fields.items():
        inner = list(_sections(field.annotation))
        default = "a section, below" if inner and not field.is_required() else _default(field)
        yield f"| `{name}` | {default} | {told.get(name, '')} |\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default if field.default is not PydanticUndefined else field.get_default(call_default_factory=True)
    if value is None or value == "":
        return "none"
    if hasattr(value, "order"):
        return f"`{value.name}`"
    return f"`{value}`" if not isinstance(value, bool) else f"`{str(value).lower()}`"


def _told(section: type[Section]) -> Mapping[str, str]:
    """The strings under the fields."""
    body = typing.cast("ast.ClassDef", ast.parse(inspect.getsource(section)).body[0]).body
    found = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            words = " ".join(str(text.value.value).split())
            found[typing.cast("ast.Name", field.target).id] = words.replace("|", "\\|")
    return found


def commands() -> str:
    """The page of all commands."""
    group = typing.cast("TyperGroup", typer.main.get_command(app))
    parts = [COMMANDS]
    for name, command in group.commands.items():
        parts += _command(f"agentserve {name}", command)
    return "".join(parts)


def _command(name: str, command: object) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        for inner, each in command.commands.items():
            yield from _command(f"{name} {inner}", each)
        return
    assert isinstance(command, TyperCommand)  # noqa: S101
    params = command.params
    arguments = [param for param in params if isinstance(param, TyperArgument)]
    words = " ".join([name, *((param.name or "").upper() for param in arguments)])
    yield f"\n## `{name}`\n\n{' '.join((command.help or '').split())}\n\n```text\n{words} [OPTIONS]\n```\n"
    options = [param for param in params if isinstance(param, TyperOption) and not param.hidden]
    if options:
        yield "\n| option | default | |\n|---|---|---|\n"
    for option in options:
        default = "" if option.default in (None, False, ()) or callable(option.default) else f"`{option.default}`"
        help_text = " ".join((option.help or "").split()).replace("|", "\\|")
        yield f"| `{', '.join([*option.opts, *option.secondary_opts])}` | {default} | {help_text} |\n"


def rules() -> str:
    """The page of all policies: their rules are what their modules say."""
    parts, told = [RULES], dict[str, str]()
    for kind, choices in registry.POLICIES.items():
        parts.append(f"\n## {kind.capitalize()}\n")
        for name, policy in choices.items():
            parts.append(f"\n### `{name}`\n\n")
            parts += _rule(policy, f"{kind}: `{name}`", told)
    return "".join(parts)


def _rule(policy: typing.Callable[..., object], name: str, told: dict[str, str]) -> Iterator[str]:
    module = inspect.getmodule(policy)
    text = inspect.cleandoc((module and module.__doc__) or "")
    summary, _, attributes = inspect.cleandoc(policy.__doc__ or "").partition("\nAttributes:\n")
    if text in told:
        yield f"The rule is that of {told[text]}.\n\n"
    else:
        told[text] = name
        yield f"{text}\n\n"
    yield f"{summary.strip()}\n"
    params = signature(policy)
    if params:
        yield "\n| parameter | default | |\n|---|---|---|\n"
        words = _attributes(attributes)
        for param, default in params.items():
            yield f"| `{param}` | `{default}` | {words.get(param, '')} |\n"


def signature(policy: typing.Callable[..., object]) -> dict[str, object]:
    """A policy's parameters with their defaults."""
    return {name: param.default for name, param in inspect.signature(policy).parameters.items()}


def _attributes(text: str) -> Mapping[str, str]:
    """What a docstring says of each attribute."""
    found = re.split(r"^    (\w+): ", text, flags=re.MULTILINE)[1:]
    pairs = zip(found[::2], found[1::2], strict=True)
    return {name: " ".join(words.split()).replace("|", "\\|") for name, words in pairs}


PAGES = {"configuration.md": configuration, "commands.md": commands, "rules.md": rules}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (DOCS / page).write_text(text(), encoding="utf-8")
