"""The engine where a call ends first: the placement of HEFT (Topcuoglu et al., 2002) in its run-time form, HEFT_RT.

HEFT_RT decides anew at every event on the tasks that are ready; what runs and is mapped already stays. With w(n, m) the
time of call n on engine m:

    w(n, m) = prefill of what is not cached on m + expected output * step of m
    argmin over m of   wait(m) + w(n, m)          ties to the first engine

An engine serves many calls at once, so a slot of HEFT's processors is here a share of its memory and a place in its
batch: wait(m) is the prefill queued there, or the time until enough running calls have ended, whichever is longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from scheduler.admission.base import Admission, Verdict
from scheduler.state import Call, EngineState
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class EarliestFinish:
    """Earliest estimated finish among the engines that would admit the call, by their step costs.

    KV that rests in gaps is taken to make room when it is needed.
    """

    binds: ClassVar[bool] = False

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        if len(engines) == 1:
            return engines[0]
        asks = admission.holds(view, call)

        def rank(engine: EngineState) -> tuple[bool, Seconds]:
            closed = asks and admission.verdict(view, call, engine) is not Verdict.ADMIT
            return closed, finish(view, call, engine)

        return min(engines, key=rank)


def finish(view: View, call: Call, engine: EngineState) -> Seconds:
    """Seconds until the call would have its last token, should it go to the engine now."""
    steps = engine.spec.steps
    running = engine.running.values()
    context = call.prompt + sum(other.prompt + other.output for other in running)
    step = steps.decode(len(running) + 1, context)
    queued = sum(
        steps.prefill(other.uncached, other.prompt - other.uncached) for other in running if other.first_token is None
    )
    uncached = view.uncached(call, engine)
    prefill = steps.prefill(uncached, call.prompt - uncached)
    return max(queued, _until_room(call, engine, step)) + prefill + call.expected_output * step


def _until_room(call: Call, engine: EngineState, step: Seconds) -> Seconds:
    """Seconds until the running calls that end first have left memory and a place in the batch."""
    running = engine.running.values()
    tokens = call.reached + sum(other.reached for other in running) + engine.foreign - engine.account.capacity
    places = len(running) + 1 - engine.spec.max_num_seqs
    wait = 0.0
    if tokens > 0 or places > 0:
        for left, reached in sorted((max(other.expected_output - other.output, 0), other.reached) for other in running):
            wait = left * step
            tokens -= reached
            places -= 1
            if tokens <= 0 and places <= 0:
                break
    return wait
