"""Finding the program a request belongs to when its client does not say: by the history it extends."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from agentserve.gateway.prompt import Prompt
from scheduler.types import PrefixMark, ProgramKey, TenantId

MAX_TWINS = 64
"""Programs remembered that sent the same prompt."""


class _Earlier(NamedTuple):
    end: PrefixMark
    program: ProgramKey


class History:
    """The prompts of recent calls, and whose they were.

    The rule: a request extends a program if it begins with the *whole* prompt of an earlier call of that program and
    goes on with an answer of the model; the longest such prompt wins. A shared system prompt, or the same first
    prompt sent twice, is therefore no match: nothing in it is an answer to an earlier call. In a plain prompt an
    answer cannot be told from the rest; there the request has to be longer than the earlier one, which has to have
    at least one mark.

    Programs with the same first prompt differ from their first answers on. Until then they are twins: their second
    calls are given out in turn, so that each gets one, and from there on the longest match tells them apart.
    """

    def __init__(self, most: int) -> None:
        """Of more than `most` prompts, the least recently used is forgotten."""
        self._most = most
        self._anchors: OrderedDict[tuple[TenantId, int], list[_Earlier]] = OrderedDict()

    def find(self, prompt: Prompt, tenant: TenantId) -> ProgramKey | None:
        """The tenant's program whose history the prompt extends."""
        for mark in prompt.turns:
            anchor = tenant, mark.hash
            for earlier in self._anchors.get(anchor, ()):
                if prompt.continues(earlier.end, mark):
                    self._give_out(anchor, earlier)
                    return earlier.program
        return None

    def remember(self, prompt: Prompt, program: ProgramKey) -> None:
        """Notes a call's prompt. Prompts without marks are too short, or too many, to be told apart."""
        if not prompt.marks:
            return
        anchor = program.tenant, prompt.marks[-1].hash
        twins = self._anchors.setdefault(anchor, [])
        self._anchors.move_to_end(anchor)
        earlier = _Earlier(prompt.end, program)
        if earlier not in twins:
            twins.append(earlier)
        del twins[:-MAX_TWINS]
        if len(self._anchors) > self._most:
            self._anchors.popitem(last=False)

    def _give_out(self, anchor: tuple[TenantId, int], earlier: _Earlier) -> None:
        twins = self._anchors[anchor]
        twins.remove(earlier)
        twins.append(earlier)
        self._anchors.move_to_end(anchor)
