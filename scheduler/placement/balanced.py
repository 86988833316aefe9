"""HexGen-Flow's dispatch: the engine that suits a call's stage best and has the least work.

The released code of HexGen-Text2SQL / HexGen-Flow (arXiv 2505.05286), with t(m, s) the mean service time of stage s on
engine m, W_m the seconds of service assigned to m, and the first engine as base:

    argmax over m of   alpha * t(base, s) / t(m, s) - (1 - alpha) * k_m * W_m / W_base

ties to the first engine; the very first call goes to the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from scheduler.admission.base import Admission
from scheduler.presets.stages import StageListener
from scheduler.state import Call, EngineState
from scheduler.types import CallId, EngineId, Seconds, Usage
from scheduler.view import View

SLOWER = 1.25
"""An engine whose decode step is this many times as long as the fastest one's is a slow one."""


class Work:
    """Seconds of service assigned to engines."""

    def __init__(self) -> None:
        self._ever: dict[EngineId, Seconds] = {}
        self._outstanding: dict[CallId, tuple[EngineId, Seconds]] = {}

    def assign(self, call: CallId, engine: EngineId, seconds: Seconds) -> None:
        """Assigns a call, or takes it from the engine it was assigned to before."""
        self._ever[engine] = self._ever.get(engine, 0.0) + seconds
        self._outstanding[call] = engine, seconds

    def settle(self, call: CallId) -> None:
        """The call is not outstanding any more."""
        self._outstanding.pop(call, None)

    def ever(self, engines: Sequence[EngineState]) -> list[Seconds]:
        """All that was ever assigned to each of these engines."""
        return [self._ever.get(engine.id, 0.0) for engine in engines]

    def outstanding(self, engines: Sequence[EngineState]) -> list[Seconds]:
        """What was assigned to each of these engines and has not ended."""
        sums = {engine.id: 0.0 for engine in engines}
        for engine, seconds in self._outstanding.values():
            if engine in sums:
                sums[engine] += seconds
        return list(sums.values())


@dataclass(frozen=True, slots=True)
class Balanced(StageListener):
    """Binds each call on arrival to the engine with the highest score. Service times are learned, not profiled.

    Attributes:
        alpha: the weight of fit against load. The code's default is 0; its sweeps go up to 0.5.
        cumulative: W_m is all that was ever assigned, as in the code. Otherwise it is what is outstanding, and
            compared with the mean over engines, because the base may have nothing outstanding.
        slow_weight: k_m of slow engines; that of the others is 1. The code has 0.5 for two kinds of GPU by name, those
            with the slower memory of its testbed; here the length of a decode step tells which they are.
    """

    binds: ClassVar[bool] = True

    alpha: float = 0.2
    cumulative: bool = False
    slow_weight: float = 1.0
    _work: Work = field(init=False, default_factory=Work, repr=False, compare=False)

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        if len(engines) == 1:
            return engines[0]
        if self.cumulative and not self._work.ever(engines[:1])[0]:
            return engines[0]
        seconds = self.times.compare(call, engines)
        loads = self._loads(engines)
        scores = [
            self.alpha * seconds[0] / here - (1.0 - self.alpha) * load
            for here, load in zip(seconds, loads, strict=True)
        ]
        return engines[scores.index(max(scores))]

    def _loads(self, engines: Sequence[EngineState]) -> list[float]:
        """k_m * W_m in units of the base's work, or of the mean."""
        work = self._work.ever(engines) if self.cumulative else self._work.outstanding(engines)
        unit = work[0] if self.cumulative else sum(work) / len(work) or 1.0
        fastest = min(_decode_step(engine) for engine in engines)
        return [
            seconds / unit * (self.slow_weight if _decode_step(engine) > SLOWER * fastest else 1.0)
            for engine, seconds in zip(engines, work, strict=True)
        ]

    def call_bound(self, view: View, call: Call, engine: EngineState) -> None:
        self._work.assign(call.id, engine.id, self.times.service_on(call, engine))

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        StageListener.call_finished(self, view, call, usage, engine)
        self._work.settle(call.id)

    def call_dropped(self, view: View, call: Call) -> None:
        self._work.settle(call.id)


def _decode_step(engine: EngineState) -> Seconds:
    return engine.spec.steps.decode(1, 0)
