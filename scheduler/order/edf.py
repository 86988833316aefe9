"""Earliest deadline first (Liu and Layland, 1973; the earliest due date rule of scheduling theory)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scheduler.order.base import Moves
from scheduler.presets.stages import StageOrder
from scheduler.state import Call
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class EarliestDeadline(StageOrder):
    """Calls of the program that is due first.

    A program whose calls have no deadline is due `slo_scale` times what its workflow takes alone after its arrival,
    its gaps left out (`scheduler.presets.stages`).
    """

    moves: ClassVar[Moves] = Moves.NEVER

    slo_scale: float = 5.0

    def key(self, view: View, call: Call) -> float:
        return self.times.due(view, call, self.slo_scale)
