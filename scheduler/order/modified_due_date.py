"""The modified due date rule (MDD; Baker and Bertrand, 1982) and its challenger (MDDC, arXiv 2510.24013).

Both are rules for total tardiness on one machine. With p_j a job's processing time, d_j its due date, t the time that
is already scheduled, and U the jobs that are not:

    MDD     argmin  max(t + p_j, d_j)
    MDDC    argmin  mu (1 + theta) + sigma
            mu    = max(1.1 p_j + t, d_j)
            theta = rho^2 / (1 + rho^2),  rho = min(p_j / (t + max p_U), 1)
            sigma = p_j / (t + mean p_U)

Here p is the remaining service of a program, d when it is due, and U the calls that wait. The rule is asked anew at
every dispatch with t = 0 and due dates counted from now, because theta scales mu: another origin of time would give
another order. That engines serve many calls at once is left out of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from scheduler.order.base import Moves
from scheduler.presets.stages import StageOrder
from scheduler.state import Call, EngineState
from scheduler.types import CallId, Seconds
from scheduler.view import View


class Job(NamedTuple):
    """What the rules know of a waiting call: its program's remaining service, and when that is due."""

    seconds: Seconds
    due: Seconds


class Jobs:
    """The calls that wait."""

    def __init__(self) -> None:
        self._jobs: dict[CallId, Job] = {}
        self._sizes: tuple[Seconds, Seconds] | None = None

    def add(self, name: CallId, job: Job) -> None:
        """A call begins to wait."""
        self._jobs[name] = job
        self._sizes = None

    def remove(self, name: CallId) -> None:
        """A call waits no longer."""
        self._jobs.pop(name, None)
        self._sizes = None

    def get(self, name: CallId) -> Job | None:
        """The call's job, if it is known to wait."""
        return self._jobs.get(name)

    @property
    def sizes(self) -> tuple[Seconds, Seconds]:
        """The longest and the mean of what the waiting programs need; 0 while none waits."""
        if self._sizes is None:
            seconds = [job.seconds for job in self._jobs.values()]
            self._sizes = (max(seconds), sum(seconds) / len(seconds)) if seconds else (0.0, 0.0)
        return self._sizes


@dataclass(frozen=True, slots=True)
class ModifiedDueDate(StageOrder):
    """The call with the smallest modified due date, or with the smallest score of the challenger.

    What remains and when a program without deadlines is due are those of `scheduler.presets.stages`, as they are when
    the call arrives.
    """

    moves: ClassVar[Moves] = Moves.ALWAYS

    challenger: bool = False
    slo_scale: float = 5.0
    _jobs: Jobs = field(init=False, default_factory=Jobs, repr=False, compare=False)

    def key(self, view: View, call: Call) -> float:
        seconds, due = self._jobs.get(call.id) or self._job(view, call)
        if not self.challenger:
            return mdd(seconds, due, view.now)
        longest, mean = self._jobs.sizes
        return view.now + mddc(seconds, due - view.now, 0.0, max(longest, seconds), mean or seconds)

    def call_arrived(self, view: View, call: Call) -> None:
        StageOrder.call_arrived(self, view, call)
        self._jobs.add(call.id, self._job(view, call))

    def call_dispatched(self, view: View, call: Call, engine: EngineState) -> None:
        self._jobs.remove(call.id)

    def call_dropped(self, view: View, call: Call) -> None:
        self._jobs.remove(call.id)

    def _job(self, view: View, call: Call) -> Job:
        return Job(self.times.remaining(view, call), self.times.due(view, call, self.slo_scale))


def mdd(p: float, d: float, t: float) -> float:
    """The modified due date of a job."""
    return max(t + p, d)


def mddc(p: float, d: float, t: float, longest: float, mean: float) -> float:
    """The challenger's score of a job; `longest` and `mean` are those of the jobs not yet scheduled."""
    mu = max(1.1 * p + t, d)
    rho = min(p / (t + longest), 1.0)
    theta = rho * rho / (1.0 + rho * rho)
    return mu * (1.0 + theta) + p / (t + mean)
