"""First come, first served, by program: a call's place is that of its program's first arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scheduler.order.base import Moves
from scheduler.state import Call
from scheduler.view import View

PINNED_AHEAD = 1 << 30
"""Larger than any rank, so that programs with a live pin sort before all others."""


@dataclass(frozen=True, slots=True)
class ProgramFcfs:
    """Programs in order of first arrival.

    With `pinned_first`, calls that return to a live pin go before all others (Continuum, arXiv 2511.02230, whose
    waiting order is: programs with a live pin, then program first arrival).
    """

    moves: ClassVar[Moves] = Moves.NEVER

    pinned_first: bool = False

    def key(self, view: View, call: Call) -> float:
        return self.priority(view, call)

    def priority(self, view: View, call: Call) -> int:
        rank = call.program.rank
        if self.pinned_first and call.program.pin_until > view.now:
            return rank - PINNED_AHEAD
        return rank
