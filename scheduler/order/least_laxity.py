"""Least laxity first (Mok, 1983): by the time a program can still afford to wait.

laxity = due - now - remaining service
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scheduler.order.base import Moves
from scheduler.presets.stages import StageOrder
from scheduler.state import Call
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class LeastLaxity(StageOrder):
    """Calls of the program with the least laxity.

    While calls wait, the laxity of all shrinks alike, so the key leaves `now` out and does not move. What remains and
    when a program without deadlines is due are those of `scheduler.presets.stages`.
    """

    moves: ClassVar[Moves] = Moves.NEVER

    slo_scale: float = 5.0

    def key(self, view: View, call: Call) -> float:
        return self.times.due(view, call, self.slo_scale) - self.times.remaining(view, call)
