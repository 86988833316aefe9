"""Whose answer a response id names: what `previous_response_id` needs to find its program again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from agentserve.gateway.prompt import Prompt, answered
from scheduler.types import PrefixMark, ProgramKey, TenantId, Tokens

MAX_RESPONSES = 16_384
"""Responses remembered; the least recently used goes first."""
MAX_MARKS = 256
"""Marks kept of each, from its end."""
BYTES_A_TOKEN = 4
"""For the size of an answer whose text nobody has looked at."""


class Link(NamedTuple):
    """A response: its program, and the marks of its prompt and answer (none of one from before a restart)."""

    program: ProgramKey
    marks: tuple[PrefixMark, ...] = ()


class Chain:
    """The responses of recent calls. One tenant's ids mean nothing to another."""

    def __init__(self) -> None:
        self._links: OrderedDict[tuple[TenantId, str], Link] = OrderedDict()
        self.told: Callable[[str, ProgramKey], None] | None = None
        """Is told of each new response and its program, where somebody wants to know."""

    def find(self, tenant: TenantId, response: str) -> Link | None:
        """The response of that id, if it is known."""
        link = self._links.get((tenant, response))
        if link is not None:
            self._links.move_to_end((tenant, response))
        return link

    def remember(self, response: str, program: ProgramKey, prompt: Prompt, output: Tokens) -> None:
        """Notes an answer of about `output` tokens to a prompt."""
        marks = answered(prompt.marks[-MAX_MARKS:], response, BYTES_A_TOKEN * output)
        self._put(program.tenant, response, Link(program, marks))
        if self.told is not None:
            self.told(response, program)

    def to_json(self) -> list[list[str]]:
        """Plain JSON values: tenant, response id and program of each, without its marks."""
        return [[tenant, response, link.program.program] for (tenant, response), link in self._links.items()]

    def load(self, saved: object) -> None:
        """Takes what `to_json` gave.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(saved, list):
            raise ValueError(f"responses are a list, not {type(saved).__name__}")
        for row in saved:
            if not (isinstance(row, list) and len(row) == 3 and all(isinstance(item, str) for item in row)):
                raise ValueError(f"a response is a tenant, an id and a program, not {row!r}")
            tenant, response, program = row
            self._put(TenantId(tenant), response, Link(ProgramKey(TenantId(tenant), program)))

    def _put(self, tenant: TenantId, response: str, link: Link) -> None:
        self._links[tenant, response] = link
        self._links.move_to_end((tenant, response))
        if len(self._links) > MAX_RESPONSES:
            self._links.popitem(last=False)
