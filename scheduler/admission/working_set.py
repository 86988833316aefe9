"""Working-set admission: only as many programs enter an engine as its memory can hold, gaps included.

The idea is Denning's working set (The working set model for program behavior, 1968) with programs for processes: a
program whose context is not in memory only makes the others thrash, so it waits outside as a whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scheduler.admission.base import Verdict
from scheduler.retention.break_even import worth
from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds, Tokens
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class WorkingSet:
    """Admits a program if the engine's members, with what they are expected to grow by, leave room for it.

    A member's calls enter without asking. A program that has made way stands in line like a new one: its context has to
    be computed again, which costs the same whenever it enters. It may use what is reserved for growth, though: that is
    kept for those who have begun. No bound on the wait is needed for fairness, since the order alone decides who is
    next, and one that lets programs in over capacity ends in thrashing, where all wait longer: at overload it was the
    difference between the best and a middling policy.

    With an offload tier behind the engine, a member's context is either here or there, and the pin decides which; the
    members have room in both together, and stay for as long as they are worth having their contexts computed again.

    Attributes:
        limit: share of the engine's KV tokens that may be reserved.
        growth: share of the members' expected further growth that is reserved with their present footprints. Members
            are at different points of their runs, so the whole of it is never needed at once.
    """

    limit: float = 1.0
    growth: float = 0.5

    def holds(self, view: View, call: Call) -> bool:
        return not call.program.member

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        if not engine.members:
            return Verdict.ADMIT
        if len(engine.running) >= engine.spec.max_num_seqs:
            return Verdict.STOP
        room = self.limit * engine.account.capacity + engine.spec.offload_tokens
        wanted = engine.account.capacity - engine.free + view.needs(call, engine) + _follows(call, engine) + view.kept
        if view.kept or not (call.program.served or view.claims):
            wanted += int(self.growth * (engine.growth + view.growth_after(call)))
        return Verdict.ADMIT if wanted <= room else Verdict.STOP

    def longest_wait(self, view: View, call: Call) -> Seconds:
        return math.inf

    def stays(self, view: View, program: Program, ttl: Seconds) -> Seconds:
        engine = view.engines[program.engine] if program.engine is not None else None
        if engine is None or not engine.spec.offload_tokens:
            return ttl
        return worth(view, program, engine, view.cold_prefill(engine, program.context))


def _follows(call: Call, engine: EngineState) -> Tokens:
    """What calls that are sent together with this one hold at least: they follow it without asking.

    Their prompts may be its own; their answers are taken to be as long as its own, of as many as run at once.
    """
    return min(call.siblings, engine.spec.max_num_seqs - 1) * call.expected_output
