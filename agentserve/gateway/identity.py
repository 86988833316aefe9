"""Which program a call belongs to, and what its client says about it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agentserve.gateway.errors import ApiError
from agentserve.gateway.history import History
from agentserve.gateway.request import Request
from scheduler.types import DEFAULT_TENANT, UNNAMED, ProgramKey, Seconds

MAX_ID_BYTES = 256
MAX_DEADLINE_MS = 30 * 24 * 3600 * 1000
"""A deadline further away than 30 days is a mistake."""

SESSION_HEADERS = (b"x-session-id", b"x-claude-code-session-id", b"session-id", b"x-dynamo-session-id")
CONTEXT_IDS = ("session_id", "task_id", "agent_id")
"""The ids of an `agentic_context`; those that are there are joined by slashes."""

Headers = Mapping[bytes, bytes]
"""Lower-case names."""


class Source(StrEnum):
    """What told a call's program. The value is a metric label."""

    HEADER = "header"
    AGENTIC_CONTEXT = "agentic_context"
    SESSION = "session"
    PROMPT_CACHE_KEY = "prompt_cache_key"
    HISTORY = "history"
    NONE = "none"

    @property
    def is_name(self) -> bool:
        """Whether the client said which program it is, instead of our finding out."""
        return self not in (Source.HISTORY, Source.NONE)


@dataclass(frozen=True, slots=True)
class Identity:
    """A call's program, where it stands in it, and by when it is needed (`deadline` in seconds from now)."""

    program: ProgramKey
    source: Source
    parent: ProgramKey | None
    workflow: str
    stage: str
    deadline: Seconds | None
    final: bool


def identify(headers: Headers, request: Request, history: History) -> Identity:
    """Identifies a call by the first source that says something, and notes its prompt in the history.

    Raises:
        ApiError: an id, the deadline or the final mark is absurd.
    """
    program, source = _program(headers, request, history)
    history.remember(request.prompt, program)
    parent = _header(headers, b"x-agentserve-parent")
    return Identity(
        program=program,
        source=source,
        parent=_key(parent) if parent else None,
        workflow=_header(headers, b"x-agentserve-workflow") or ("" if source.is_name else UNNAMED),
        stage=_header(headers, b"x-agentserve-stage"),
        deadline=_deadline(headers),
        final=_final(headers),
    )


def _program(headers: Headers, request: Request, history: History) -> tuple[ProgramKey, Source]:
    if name := _header(headers, b"x-agentserve-program"):
        return _key(name), Source.HEADER
    if name := _agentic_context(request):
        return _key(name), Source.AGENTIC_CONTEXT
    for header in SESSION_HEADERS:
        if name := _header(headers, header):
            return _key(name), Source.SESSION
    if name := _checked("prompt_cache_key", request.body.fields.get("prompt_cache_key")):
        return _key(name), Source.PROMPT_CACHE_KEY
    if known := history.find(request.prompt):
        return known, Source.HISTORY
    return _key(f"auto-{secrets.token_hex(8)}"), Source.NONE


def _key(program: str) -> ProgramKey:
    return ProgramKey(DEFAULT_TENANT, program)


def _agentic_context(request: Request) -> str:
    arguments = request.body.fields.get("vllm_xargs")
    context = arguments.get("agentic_context") if isinstance(arguments, dict) else None
    if isinstance(context, str):
        try:
            context = json.loads(context)
        except (ValueError, RecursionError):
            raise _absurd("vllm_xargs.agentic_context", "an object, or the JSON of one") from None
    if context is None:
        return ""
    if not isinstance(context, dict):
        raise _absurd("vllm_xargs.agentic_context", "an object, or the JSON of one")
    ids = [_checked(f"agentic_context.{name}", context.get(name)) for name in CONTEXT_IDS]
    return _checked("agentic_context", "/".join(name for name in ids if name))


def _header(headers: Headers, name: bytes) -> str:
    value = headers.get(name)
    if value is None:
        return ""
    try:
        return _checked(name.decode(), value.decode())
    except UnicodeDecodeError:
        raise _absurd(name.decode(), "UTF-8") from None


def _checked(name: str, value: object) -> str:
    """An id as it is; empty if there is none."""
    if value is None:
        return ""
    if not isinstance(value, str) or not _is_id(value):
        raise _absurd(name, f"a text of at most {MAX_ID_BYTES} bytes without control characters")
    return value


def _is_id(value: str) -> bool:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return False
    return size <= MAX_ID_BYTES and not any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in value)


def _deadline(headers: Headers) -> Seconds | None:
    text = _header(headers, b"x-agentserve-deadline-ms")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and 0 < int(text) <= MAX_DEADLINE_MS):
        raise _absurd("x-agentserve-deadline-ms", f"a whole number of milliseconds from 1 to {MAX_DEADLINE_MS}")
    return int(text) / 1000


def _final(headers: Headers) -> bool:
    text = _header(headers, b"x-agentserve-final").lower()
    if text not in ("", "0", "1", "false", "true"):
        raise _absurd("x-agentserve-final", "true or false")
    return text in ("1", "true")


def _absurd(name: str, must: str) -> ApiError:
    return ApiError(400, f"{name} must be {must}", param=name, code="invalid_identity")
