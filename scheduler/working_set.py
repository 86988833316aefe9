"""The working set: the KV tokens that live programs want to have in engines' memory, whether they run now or not.

Requests in flight say little of it: a program in a gap has none, and holds its context all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.state import Call, Program
from scheduler.types import Seconds, Tokens


@dataclass(slots=True)
class WorkingSet:
    """Of the programs of one model, in tokens. A program counts once: by its waiting calls, its running ones, or its gap."""

    waiting: Tokens = 0
    running: Tokens = 0
    in_gap: Tokens = 0
    returns_in: Seconds | None = None
    """When the first of those in gaps is back, of those that will rather return than not; None without any."""

    @property
    def tokens(self) -> Tokens:
        """All of it."""
        return self.waiting + self.running + self.in_gap

    def add(self, program: Program, returns_in: Seconds | None) -> None:
        """Counts a program. One in a gap may be expected back."""
        calls = program.calls.values()
        if not calls:
            self.in_gap += program.context
            if returns_in is not None:
                self.returns_in = returns_in if self.returns_in is None else min(self.returns_in, returns_in)
        elif any(call.engine is not None for call in calls):
            self.running += _reached(program)
        else:
            self.waiting += _reached(program)


def _reached(program: Program) -> Tokens:
    """Calls side by side share what they begin with, which is the program's context at most."""
    calls: list[Call] = list(program.calls.values())
    longest = max(call.reached for call in calls)
    return longest + sum(max(call.reached - program.context, 0) for call in calls) - max(longest - program.context, 0)
