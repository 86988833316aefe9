"""How agents that know nothing of us name their programs: the places to look, in their order.

What each agent sends is in docs/identity.md with where it was found. An id that cannot be one is ignored, and the next
place is looked at: its agent's user could do nothing about an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from agentserve.gateway.ids import Headers, foreign
from agentserve.gateway.splice import Body


class Source(StrEnum):
    """What told a call's program. The value is a metric label."""

    HEADER = "header"
    BODY = "body"
    AGENTIC_CONTEXT = "agentic_context"
    DYNAMO = "dynamo"
    CLAUDE_CODE = "claude_code"
    CODEX = "codex"
    OPENCODE = "opencode"
    SESSION = "session"
    CONVERSATION = "conversation"
    RESPONSE = "response"
    PROMPT_CACHE_KEY = "prompt_cache_key"
    METADATA = "metadata"
    BAGGAGE = "baggage"
    PATH = "path"
    HISTORY = "history"
    NONE = "none"

    @property
    def is_name(self) -> bool:
        """Whether the client said which program it is, instead of our finding out."""
        return self not in (Source.HISTORY, Source.NONE)


@dataclass(frozen=True, slots=True)
class Name:
    """A program as a source names it, within its tenant."""

    program: str
    source: Source
    parent: str = ""
    final: bool = False


Look = Callable[[Headers, Body], Name | None]

_SESSION = re.compile(rb"x-(?:[a-z0-9-]+-)?session-id")
_CLAUDE_USER = re.compile(r"_session_([0-9A-Za-z-]+)\Z")
_METADATA_IDS = ("session_id", "thread_id", "conversation_id")
_BAGGAGE_KEY = "gen_ai.conversation.id"


def look_for_name(headers: Headers, body: Body) -> Name | None:
    """The first name that an agent's own headers give."""
    looks = [look for look, named in _LOOKS if not named.isdisjoint(headers)]
    return _first((*looks, session), headers, body)


def look_in_body(headers: Headers, body: Body) -> Name | None:
    """The first name that stands where no agent has a header of its own."""
    return _first((prompt_cache_key, metadata, baggage), headers, body)


def dynamo(headers: Headers, body: Body) -> Name | None:
    """NVIDIA Dynamo's session headers, which other agents and load generators send too."""
    final = headers.get(b"x-dynamo-session-final", b"").lower() in (b"true", b"1")
    parent = _id(headers, b"x-dynamo-parent-session-id")
    return _name(_id(headers, b"x-dynamo-session-id"), Source.DYNAMO, parent, final)


def claude_code(headers: Headers, body: Body) -> Name | None:
    """Claude Code: a session, and within it an agent of its own for each sub-agent."""
    root = _id(headers, b"x-claude-code-session-id")
    agent, above = _id(headers, b"x-claude-code-agent-id"), _id(headers, b"x-claude-code-parent-agent-id")
    if not root or not agent:
        return _name(root, Source.CLAUDE_CODE)
    return _name(f"{root}/{agent}", Source.CLAUDE_CODE, f"{root}/{above}" if above else root)


def codex(headers: Headers, body: Body) -> Name | None:
    """Codex: a session of threads. A sub-agent's thread names its parent's; the first thread has the session's id."""
    root = _id(headers, b"session-id") or _id(headers, b"session_id")
    if not root:
        return None
    thread = _id(headers, b"thread-id") or _id(headers, b"conversation_id") or root
    return _name(thread, Source.CODEX, _id(headers, b"x-codex-parent-thread-id"))


def opencode(headers: Headers, body: Body) -> Name | None:
    """OpenCode: a session of its own for each sub-agent, with its parent's beside it."""
    own = _id(headers, b"x-opencode-session") or _id(headers, b"x-session-affinity")
    return _name(own, Source.OPENCODE, _id(headers, b"x-parent-session-id"))


def session(headers: Headers, body: Body) -> Name | None:
    """Any `x-*-session-id`, the first by name; its parent is in `x-*-parent-session-id`."""
    for header in sorted(name for name in headers if name.endswith(b"-session-id")):
        if _SESSION.fullmatch(header) and b"parent" not in header and (own := _id(headers, header)):
            stem = header.removesuffix(b"session-id")
            return _name(own, Source.SESSION, _id(headers, stem + b"parent-session-id"))
    return None


_LOOKS: tuple[tuple[Look, frozenset[bytes]], ...] = (
    (dynamo, frozenset({b"x-dynamo-session-id"})),
    (claude_code, frozenset({b"x-claude-code-session-id"})),
    (codex, frozenset({b"session-id", b"session_id"})),
    (opencode, frozenset({b"x-opencode-session", b"x-session-affinity"})),
)
"""Agents' own headers, in their order, and those without one of which there is no name."""


def prompt_cache_key(headers: Headers, body: Body) -> Name | None:
    """OpenAI's key for requests that share a prompt."""
    return _name(foreign(body.fields.get("prompt_cache_key")), Source.PROMPT_CACHE_KEY)


def metadata(headers: Headers, body: Body) -> Name | None:
    """A session in `metadata`, or in Anthropic's `metadata.user_id` as Claude Code writes it; never a mere user."""
    fields = body.fields.get("metadata")
    if not isinstance(fields, dict):
        return None
    for key in _METADATA_IDS:
        if own := foreign(fields.get(key)):
            return _name(own, Source.METADATA)
    return _name(_session_of_user(fields.get("user_id")), Source.METADATA)


def baggage(headers: Headers, body: Body) -> Name | None:
    """W3C baggage with the conversation of OpenTelemetry's GenAI conventions."""
    try:
        text = headers.get(b"baggage", b"").decode()
    except UnicodeDecodeError:
        return None
    for member in text.split(","):
        key, _, value = member.partition(";")[0].partition("=")
        if unquote(key.strip()) == _BAGGAGE_KEY:
            return _name(foreign(unquote(value.strip())), Source.BAGGAGE)
    return None


def conversation(fields: Mapping[str, object]) -> str:
    """The conversation of a response, by its id or as an object with one."""
    value = fields.get("conversation")
    return foreign(value.get("id") if isinstance(value, dict) else value)


def _session_of_user(user: object) -> str:
    if not isinstance(user, str):
        return ""
    if match := _CLAUDE_USER.search(user):
        return foreign(match[1])
    if not user.startswith("{"):
        return ""
    try:
        fields = json.loads(user)
    except (ValueError, RecursionError):
        return ""
    return foreign(fields.get("session_id"))


def _first(looks: tuple[Look, ...], headers: Headers, body: Body) -> Name | None:
    return next((name for look in looks if (name := look(headers, body)) is not None), None)


def _name(program: str, source: Source, parent: str = "", final: bool = False) -> Name | None:
    return Name(program, source, foreign(parent), final) if foreign(program) else None


def _id(headers: Headers, name: bytes) -> str:
    return foreign(headers.get(name))
