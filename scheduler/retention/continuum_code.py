"""The retention of Continuum's released code, which is simpler than the rule of the paper.

Every pin lasts 2 s. Nothing is pinned if the program's tool took longer than that on average so far, or if no tool is
recognised in the answer; a tool that was never seen is given its pin. (github.com/Weili-0234/vllm-continuum; the
paper is arXiv 2511.02230.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.average import Average
from scheduler.listener import Listener
from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View

ALL = 1 << 62
"""Samples over which a mean is exact: it never forgets."""


@dataclass(frozen=True, slots=True)
class ContinuumCode(Listener):
    """A constant time-to-live for tools that are quick on average. The engine's own victims are not those of the fork.

    Attributes:
        ttl: seconds a pin lasts.
        longest_mean: a tool whose gaps last longer than this on average, in seconds, is not waited for.
    """

    ttl: float = 2.0
    longest_mean: float = 2.0
    _means: dict[tuple[str, str], Average] = field(init=False, default_factory=dict, repr=False, compare=False)

    def at_dispatch(self, view: View, call: Call, engine: EngineState) -> Seconds:
        return self.ttl

    def at_finish(self, view: View, program: Program, engine: EngineState) -> Seconds:
        tool = _tool(program)
        if not tool:
            return 0.0
        mean = self._means.get((program.key.tenant, tool))
        return self.ttl if mean is None or mean.value <= self.longest_mean else 0.0

    def gap_ended(self, view: View, program: Program, gap: Seconds) -> None:
        if tool := _tool(program):
            self._means.setdefault((program.key.tenant, tool), Average(0.0, memory=ALL)).add(gap)


def _tool(program: Program) -> str:
    """The tool the program runs in its gap: the first, where its answer called several."""
    return program.gap_tools[0] if program.gap_tools else ""
