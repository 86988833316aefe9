"""Keeps a context as long as the memory it occupies is expected to cost less than its loss.

Memory has a price only while somebody waits for it, which is when it is full. Dropping a context of C tokens then costs
the seconds R(C) that it takes to be there again, in which all that the M tokens of memory hold waits. Keeping it costs
its own C tokens for as long as it rests. In token-seconds the two are even after

    B = R(C) * M / C

which is InferCept's comparison (arXiv 2402.01869) with the whole memory in place of what runs at the moment. Where
newcomers need less room than members hold, more of them are kept out than members would wait: B is less by that ratio.
With F
the distribution of the gaps of the tool that was called, and p the chance that the program comes back at all and goes
on with this context, a time-to-live of tau gains p * F(tau) * B and costs E[min(gap, tau)], where the gap of a program
that does not come back is infinite:

    TTL = argmax over tau of  p * F(tau) * B - E[min(gap, tau)]

Where the agent has said that a join is ahead, p is 1. Near its maximum the gain is flat and known from few samples, and who lets go loses his place as well as his context:
of the times that gain nearly as much, the longest is taken. Continuum's rule (arXiv 2511.02230) charges all of tau for
every gap in place of the expected time that it really takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View
from tools.gaps import CurvePoint

NEARLY = 0.2
"""A gain that is less than the greatest by this share of what that one costs is nearly as much."""
SLACK = 1.5
"""A gap whose length the agent tells is kept so many times as long."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The time-to-live with the greatest expected gain. A gap whose length the agent tells is kept whole or not at all.

    Attributes:
        loss: how many times its computed cost the loss of a context counts.
        bridge: seconds of the pin that travels with a request until the time-to-live arrives.
    """

    loss: float = 1.0
    bridge: float = 2.0

    def at_dispatch(self, view: View, call: Call, engine: EngineState) -> Seconds:
        return self.bridge

    def at_finish(self, view: View, program: Program, engine: EngineState) -> Seconds:
        return worth(view, program, engine, self.loss * view.restore(engine, program.context))


def worth(view: View, program: Program, engine: EngineState, loss: Seconds) -> Seconds:
    """How long a program in its gap is worth its memory, if without it `loss` seconds are lost when it comes back."""
    if not program.context:
        return 0.0
    even = loss * wanted(view, engine) * (engine.account.capacity + engine.spec.offload_tokens) / program.context
    if program.expected_gap is not None:
        return SLACK * program.expected_gap if program.expected_gap <= even else 0.0
    return best_ttl(view.learned.gaps.curve(program.key.tenant, program.gap_tools), view.comes_back(program), even)


def wanted(view: View, engine: EngineState) -> float:
    """What a newcomer holds over what a member holds, at most 1: how much less a loss is than what it keeps out."""
    held = engine.account.occupied
    return min(1.0, view.learned.newcomer.value * len(engine.members) / held) if held else 1.0


def best_ttl(curve: Sequence[CurvePoint], returns: float, even: Seconds) -> Seconds:
    """The last point of the curve with nearly the greatest gain; 0 if none gains anything.

    `returns` is p and `even` is B. For a program that does not come back, E[min(gap, tau)] is tau.
    """
    lost = 1.0 - returns
    costs = [returns * mean + lost * seconds for seconds, _, mean in curve]
    gains = [returns * share * even - cost for (_, share, _), cost in zip(curve, costs, strict=True)]
    most = max(gains, default=0.0)
    if most <= 0:
        return 0.0
    enough, last = most - NEARLY * costs[gains.index(most)], len(gains) - 1
    while gains[last] < enough:
        last -= 1
    return curve[last].seconds
