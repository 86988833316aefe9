"""Working-set admission: only as many programs enter an engine as its memory can hold, gaps included.

The idea is Denning's working set (The working set model for program behavior, 1968) with programs for processes: a
program whose context is not in memory only makes the others thrash, so it waits outside as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.admission.base import Verdict
from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class WorkingSet:
    """Admits a program if the engine's members, with what they are expected to grow by, leave room for it.

    Only a program's first call waits. A later one enters even when its program has made way meanwhile: its wait would
    be new, while the little too much that is then reserved costs the latest program some of its cache.

    Attributes:
        limit: share of the engine's KV tokens that may be reserved.
        growth: share of the members' expected further growth that is reserved with their present footprints. Members
            are at different points of their runs, so the whole of it is never needed at once.
        gap_quantile: a program makes way when its gap lasts longer than this quantile of its tool's gaps.
        min_patience: shortest such gap, in seconds.
        max_patience: longest such gap, in seconds.
        max_wait: seconds after which a program's first call enters though it does not fit.
        max_stall: seconds that a later call may wait in its engine until members in their gaps give up their KV for
            it. Without this the latest member waits alone for what all the others have outgrown.
        min_return: a program makes way at once if those of its workflow come back, and go on with their history, less
            often than this: single questions, and stages with prompts of their own, reserve no memory once answered.
    """

    limit: float = 1.0
    growth: float = 0.5
    gap_quantile: float = 0.95
    min_patience: float = 1.0
    max_patience: float = 30.0
    max_wait: float = 300.0
    max_stall: float = 3.0
    min_return: float = 0.3

    def holds(self, view: View, call: Call) -> bool:
        return not (call.program.member or call.program.served)

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        if not engine.running:
            return Verdict.ADMIT  # an idle engine is worth more than the KV of gaps
        if len(engine.running) >= engine.spec.max_num_seqs:
            return Verdict.STOP
        reserved = engine.account.capacity - engine.free + self.growth * engine.growth
        wanted = view.needs(call, engine) + self.growth * view.growth_after(call)
        return Verdict.ADMIT if reserved + wanted <= self.limit * engine.account.capacity else Verdict.STOP

    def longest_wait(self, view: View, call: Call) -> Seconds:
        return self.max_wait

    def longest_stall(self, view: View, call: Call) -> Seconds:
        return self.max_stall

    def keeps(self, view: View, program: Program) -> bool:
        stats = view.learned.workflow(program.key.tenant, program.workflow)
        return stats.returns(program.served).value >= self.min_return

    def patience(self, view: View, program: Program) -> Seconds:
        quantile = view.learned.gaps.quantile(program.key.tenant, program.gap_tools, self.gap_quantile)
        return min(max(quantile, self.min_patience), self.max_patience)
