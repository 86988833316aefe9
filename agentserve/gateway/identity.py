"""Which program a call belongs to, and what its client says about it. All sources, in order: docs/identity.md."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from agentserve.gateway import sources
from agentserve.gateway.chain import Chain
from agentserve.gateway.errors import LONGEST_ECHO, ApiError
from agentserve.gateway.hints import Hints, read_hints
from agentserve.gateway.history import History
from agentserve.gateway.ids import Headers, foreign
from agentserve.gateway.request import Request
from agentserve.gateway.sources import Name, Source
from scheduler.types import DEFAULT_TENANT, UNNAMED, ProgramKey, Seconds, TenantId, Tokens


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
    priority: int = 0
    expected_output: Tokens | None = None
    remaining_calls: int | None = None
    siblings: int = 0
    join: bool = False


class Registrar:
    """Tells whose each call is. Ids mean something within their tenant only."""

    def __init__(self, chain: Chain, remembered: int, *, keyed: bool = False) -> None:
        """`remembered` is how many prompts are; `keyed`: tenants are told apart, so that one may not go on from a response
        that is not known to be its own.
        """
        self._chain = chain
        self._keyed = keyed
        self._history = History(remembered)

    def continued(self, request: Request, tenant: TenantId = DEFAULT_TENANT) -> Request:
        """The request with its whole prompt, where the beginning is an earlier response that the engine has kept.

        Raises:
            ApiError: 400, that response may be another tenant's.
        """
        asked = request.body.fields.get("previous_response_id")
        previous = foreign(asked)
        link = self._chain.find(tenant, previous) if previous else None
        if self._keyed and asked is not None and link is None:
            message = f"previous response {str(asked)[:LONGEST_ECHO]!r} is not known"
            raise ApiError(400, message, param="previous_response_id", code="previous_response_not_found")
        return replace(request, prompt=request.prompt.following(link.marks)) if link else request

    def identify(
        self, headers: Headers, request: Request, path: str = "", tenant: TenantId = DEFAULT_TENANT
    ) -> Identity:
        """Identifies a call by the first source that says something. `path` is the program that its URL names.

        Raises:
            ApiError: what it says in our own words is absurd.
        """
        hints = read_hints(headers, request.body)
        name = self._name(headers, request, hints, path, tenant)
        program = ProgramKey(tenant, name.program)
        parent = hints.parent or name.parent
        return Identity(
            program=program,
            source=name.source,
            parent=ProgramKey(tenant, parent) if parent and parent != name.program else None,
            workflow=hints.workflow or ("" if name.source.is_name else UNNAMED),
            stage=hints.stage,
            deadline=hints.deadline,
            final=hints.final or name.final,
            priority=hints.priority,
            expected_output=hints.expected_output,
            remaining_calls=hints.remaining_calls,
            siblings=hints.siblings,
            join=hints.join,
        )

    def remember(self, request: Request, identity: Identity) -> None:
        """Notes the prompt of a call that is served, so that its program is found by its history."""
        self._history.remember(request.prompt, identity.program)

    def _name(self, headers: Headers, request: Request, hints: Hints, path: str, tenant: TenantId) -> Name:
        if hints.program:
            return Name(hints.program, Source.HEADER if b"x-agentserve-program" in headers else Source.BODY)
        if hints.context:
            return Name(hints.context, Source.AGENTIC_CONTEXT)
        return (
            sources.look_for_name(headers, request.body)
            or self._of_responses(request, tenant)
            or sources.look_in_body(headers, request.body)
            or (Name(path, Source.PATH) if path else None)
            or self._by_history(request, tenant)
            or Name(f"auto-{secrets.token_hex(8)}", Source.NONE)
        )

    def _of_responses(self, request: Request, tenant: TenantId) -> Name | None:
        """The conversation, or the program of the response that this one follows; its id, if that is not known."""
        fields = request.body.fields
        if own := sources.conversation(fields):
            return Name(own, Source.CONVERSATION)
        previous = foreign(fields.get("previous_response_id"))
        if not previous:
            return None
        link = self._chain.find(tenant, previous)
        return Name(link.program.program if link else previous, Source.RESPONSE)

    def _by_history(self, request: Request, tenant: TenantId) -> Name | None:
        known = self._history.find(request.prompt, tenant)
        return Name(known.program, Source.HISTORY) if known is not None else None
