"""Every call enters at once: the engine's own queue does the waiting."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scheduler.admission.base import Verdict
from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class Unlimited:
    """Admits everything."""

    def holds(self, view: View, call: Call) -> bool:
        return False

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        return Verdict.ADMIT

    def longest_wait(self, view: View, call: Call) -> Seconds:
        return math.inf

    def stays(self, view: View, program: Program, ttl: Seconds) -> Seconds:
        return math.inf
