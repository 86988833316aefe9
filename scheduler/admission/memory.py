"""Admission call by call: what fits into the engine's memory now."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scheduler.admission.base import Verdict
from scheduler.admission.unlimited import Unlimited
from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class Memory(Unlimited):
    """Admits a call if the engine has room for its prompt and its expected output beside those of the running calls.

    Head of line: a call that does not fit closes its engine to those behind it. Programs reserve nothing in their
    gaps, and their later calls stand in line like any other. An idle engine takes whatever comes.

    Attributes:
        max_wait: seconds after which a call enters though it does not fit.
    """

    max_wait: float = math.inf

    def holds(self, view: View, call: Call) -> bool:
        return True

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        if not engine.running:
            return Verdict.ADMIT
        if len(engine.running) >= engine.spec.max_num_seqs:
            return Verdict.STOP
        return Verdict.ADMIT if view.needs(call, engine) <= engine.free else Verdict.STOP

    def longest_wait(self, view: View, call: Call) -> Seconds:
        return self.max_wait

    def stays(self, view: View, program: Program, ttl: Seconds) -> Seconds:
        return 0.0
