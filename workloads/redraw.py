"""Gaps that are drawn anew, where the recorded ones cannot be trusted."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tools.prior import quantile
from workloads.program import Call, Edge, Program

HUMAN = "human"
SUBAGENT = "subagent"
"""What `Edge.tool` says where no tool runs in a gap."""


def redraw_gaps(program: Program, seed: int) -> Program:
    """The program with the gaps of its tools drawn from `tools.prior`: median 0.3 s, P90 13.6 s, P99 216 s.

    Between these quantiles, and above them, the share of longer gaps falls as a power of time; below the median gaps
    are uniform. The gaps of people and of sub-agents stay, and so do edges without tool or gap. Calls are drawn one
    by one, each one time for all of its edges; the draws depend on the seed and the program's id alone.
    """
    rng = Random(f"gaps/{seed}/{program.id}")
    return replace(program, calls=tuple(_redrawn(call, quantile(rng.random())) for call in program.calls))


def _redrawn(call: Call, gap_s: float) -> Call:
    if not any(map(_is_tools, call.after)):
        return call
    return replace(call, after=tuple(replace(edge, gap_s=gap_s) if _is_tools(edge) else edge for edge in call.after))


def _is_tools(edge: Edge) -> bool:
    return edge.tool not in (HUMAN, SUBAGENT) and bool(edge.tool or edge.gap_s)
