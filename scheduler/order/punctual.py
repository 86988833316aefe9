"""By the deadline or the latest start of programs; those that are too late step behind all that are not.

With due when the call's program should have ended, and ahead the least that it needs from the call on
(`scheduler.workflows`):

    lost     from  due - margin * ahead  on
    key      due - laxity * ahead        of a call that is not lost: EDF with 0, the least laxity rule with 1
             ahead                       of one that is, behind the others: the more of them end, the better

A program that is late whatever is done takes room from others that could be in time, so that under a load that is too
high they all end a little late under every order that goes on with it (the domino effect of EDF; Locke, 1986).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scheduler.order.base import Moves
from scheduler.presets.stages import StageOrder
from scheduler.state import Call
from scheduler.types import Seconds
from scheduler.view import View

BEHIND: Seconds = 1e10
"""No due date is as late."""


@dataclass(frozen=True, slots=True)
class Punctual(StageOrder):
    """Calls of programs that can be in time first, by when they are due; then the others, shortest first.

    Attributes:
        laxity: how many times what is ahead is taken off the due date.
        margin: a program is lost when less than so many times what is ahead of it is left. 0 gives up only those whose
            deadline is over.
        serve_lost: whether calls that are lost are served at all. Without, they are refused as too late, on arrival or
            in line, so that whoever waits knows at once.
        slo_scale: when programs are due whose calls have no deadline (`scheduler.presets.stages`).
    """

    moves: ClassVar[Moves] = Moves.NEVER

    laxity: float = 0.0
    margin: float = 0.4
    serve_lost: bool = True
    slo_scale: float = 5.0

    def lost_at(self, view: View, call: Call) -> Seconds:
        return self.times.due(view, call, self.slo_scale) - self.margin * view.ahead(call)

    def key(self, view: View, call: Call) -> float:
        ahead = view.ahead(call)
        if view.now >= call.lost:
            return BEHIND + ahead
        return self.times.due(view, call, self.slo_scale) - self.laxity * ahead
