"""First come, first served, by call: what engines do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scheduler.order.base import Moves
from scheduler.state import Call
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class Fcfs:
    """Calls in order of arrival."""

    moves: ClassVar[Moves] = Moves.NEVER

    def key(self, view: View, call: Call) -> float:
        return 0.0

    def priority(self, view: View, call: Call) -> int:
        return 0
