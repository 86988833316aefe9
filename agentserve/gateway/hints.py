"""What a client says of a call beside whose it is: by headers of ours, the body's `agentserve`, or `agentic_context`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agentserve.gateway.ids import Headers, absurd, checked, header
from agentserve.gateway.splice import Body
from scheduler.types import Seconds, Tokens

MAX_DEADLINE_MS = 30 * 24 * 3600 * 1000
"""A deadline further away than 30 days is a mistake."""
MAX_PRIORITY = 100
MAX_OUTPUT = 10_000_000
MAX_CALLS = 1_000_000
MAX_SIBLINGS = 10_000
MAX_CONTEXT_BYTES = 16 * 1024
"""Of an `agentic_context` that comes as text."""

BODY_HINT = "agentserve"
HINT_NAMES = frozenset(
    {
        "program",
        "parent",
        "workflow",
        "stage",
        "deadline_ms",
        "priority",
        "expected_output",
        "final",
        "remaining_calls",
        "siblings",
        "join",
    }
)
"""What the body's field may say of a call; a virtual model takes its other members."""
CONTEXT = "vllm_xargs.agentic_context"
CONTEXT_IDS = ("session_id", "task_id", "agent_id")
"""The ids of an `agentic_context`; those that are there are joined by slashes."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What was said; empty or None where nothing was. `deadline` is in seconds from now."""

    program: str
    context: str
    """The program by `agentic_context`."""
    parent: str
    workflow: str
    stage: str
    deadline: Seconds | None
    priority: int
    expected_output: Tokens | None
    final: bool
    remaining_calls: int | None = None
    """Calls on the longest chain from this one on, itself included."""
    siblings: int = 0
    """Calls of the program that are sent together with this one."""
    join: bool = False
    """A later call needs this one's answer together with those of others."""


NOTHING = Hints("", "", "", "", "", None, 0, None, final=False)
"""What most clients say."""


def read_hints(headers: Headers, body: Body) -> Hints:
    """Reads them; a header wins over the body's `agentserve`, and that over `agentic_context`.

    Raises:
        ApiError: something in them is absurd.
    """
    if not (BODY_HINT in body.fields or "vllm_xargs" in body.fields or _has_ours(headers)):
        return NOTHING
    hint = _object(BODY_HINT, body.fields.get(BODY_HINT))
    context = _context(body)

    def said(name: str) -> tuple[str, object]:
        value = headers.get(f"x-agentserve-{name}".encode())
        if value is not None:
            return f"x-agentserve-{name}", header(headers, f"x-agentserve-{name}".encode())
        return f"{BODY_HINT}.{name}", hint.get(name.replace("-", "_"))

    def first(name: str, read: Callable[[str, object], int | None], *contexts: str) -> int | None:
        found = read(*said(name))
        for other in contexts if found is None else ():
            found = read(f"{CONTEXT}.{other}", context.get(other))
        return found

    deadline = first("deadline-ms", _milliseconds)
    return Hints(
        program=checked(*said("program")),
        context=_program(context),
        parent=checked(*said("parent")) or checked(f"{CONTEXT}.parent_id", context.get("parent_id")),
        workflow=checked(*said("workflow")),
        stage=checked(*said("stage")),
        deadline=_seconds(context.get("deadline")) if deadline is None else deadline / 1000,
        priority=first("priority", _priority, "priority") or 0,
        expected_output=first("expected-output", _tokens, "expected_output"),
        final=bool(first("final", _flag, "final")),
        remaining_calls=first("remaining-calls", _calls),
        siblings=first("siblings", _siblings) or 0,
        join=bool(first("join", _flag)),
    )


def _has_ours(headers: Headers) -> bool:
    return any(name.startswith(b"x-agentserve-") for name in headers)


def _context(body: Body) -> Mapping[str, object]:
    arguments = body.fields.get("vllm_xargs")
    context = arguments.get("agentic_context") if isinstance(arguments, dict) else None
    if isinstance(context, str):
        if len(context) > MAX_CONTEXT_BYTES:
            raise absurd(CONTEXT, f"at most {MAX_CONTEXT_BYTES} bytes")
        try:
            context = json.loads(context)
        except (ValueError, RecursionError):
            raise absurd(CONTEXT, "an object, or the JSON of one") from None
    return _object(CONTEXT, context)


def _object(name: str, value: object) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise absurd(name, "an object")
    return value


def _program(context: Mapping[str, object]) -> str:
    if named := checked(f"{CONTEXT}.program_id", context.get("program_id")):
        return named
    ids = [checked(f"{CONTEXT}.{name}", context.get(name)) for name in CONTEXT_IDS]
    return checked(CONTEXT, "/".join(name for name in ids if name))


def _number(name: str, value: object, least: int, most: int) -> int | None:
    """A whole number, also as a text; None if there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isascii():
        value = int(value) if value.removeprefix("-").isdigit() else value
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise absurd(name, f"a whole number from {least} to {most}")
    return value


def _milliseconds(name: str, value: object) -> int | None:
    return _number(name, value, 1, MAX_DEADLINE_MS)


def _priority(name: str, value: object) -> int | None:
    return _number(name, value, -MAX_PRIORITY, MAX_PRIORITY)


def _tokens(name: str, value: object) -> int | None:
    return _number(name, value, 0, MAX_OUTPUT)


def _calls(name: str, value: object) -> int | None:
    return _number(name, value, 0, MAX_CALLS)


def _siblings(name: str, value: object) -> int | None:
    return _number(name, value, 0, MAX_SIBLINGS)


def _flag(name: str, value: object) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        value = {"0": False, "1": True, "false": False, "true": True}.get(value.lower())
    if not isinstance(value, bool):
        raise absurd(name, "true or false")
    return value


def _seconds(value: object) -> Seconds | None:
    if value is None:
        return None
    most = MAX_DEADLINE_MS / 1000
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= most:
        raise absurd(f"{CONTEXT}.deadline", f"a number of seconds above 0, at most {most:.0f}")
    return float(value)
