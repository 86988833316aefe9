"""HexGen-Flow's local queue: by urgency, the seconds by which a call's stage is about to miss its budget.

HexGen-Text2SQL / HexGen-Flow (arXiv 2505.05286) and its released code. With t(s) the mean service time of stage s,
t(m, s) that on engine m, and SLO - elapsed what is left of the program's time when the stage becomes ready:

    b = (SLO - elapsed) * t(s) / (t(s) + expected seconds of the stages after s)
    U = t(m, s) - (b - waited)          largest first, not preemptive
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scheduler.order.base import Moves
from scheduler.presets.stages import StageOrder
from scheduler.state import Call
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class Urgency(StageOrder):
    """Most urgent first.

    The budget is fixed when a call arrives, as in the original. From then on the urgency of all waiting calls grows by
    one second a second, so their order never changes: the key is U with its sign turned, at time 0. The profiled times
    and the fixed list of stages of the original are learned here, per workflow.

    Attributes:
        slo_scale: the service-level objective of programs whose calls have no deadline, in multiples of the time that
            their workflow's calls take alone.
        shared_workflow: the released code keeps one list of the stages still to come for all programs. After a few
            programs it is used up, and from then on the budget of every stage is all the time its program has left.
    """

    moves: ClassVar[Moves] = Moves.NEVER

    slo_scale: float = 5.0
    shared_workflow: bool = False

    def key(self, view: View, call: Call) -> float:
        engine = None if call.bound is None else view.engines.get(call.bound)
        mean = self.times.service(view, call)
        here = mean if engine is None else self.times.service_on(call, engine)
        return call.arrived + self.budget(view, call) - here

    def budget(self, view: View, call: Call) -> Seconds:
        """The seconds that the call may take from its arrival on; less than none if its program is late."""
        left = self.times.due(view, call, self.slo_scale) - call.arrived
        if self.shared_workflow:
            return left
        service = self.times.service(view, call)
        return left * service / (service + self.times.after(view, call))
