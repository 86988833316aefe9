"""The engine where a program adds the least delay: its own, and that of the programs that are there.

An engine serves all its members at once: each decode step takes longer for each of them, and a prefill holds up all of
them. So what a program costs an engine is not only what it takes there itself. With n members or running calls,
whichever are more, that hold c tokens; step, the time of a decode step; P, the seconds of prefill that the program needs
there, now and for what it is still expected to grow by; Q, those that are queued before it; and o, the tokens that it is
expected still to generate:

    delay = Q + P * (1 + n) + o * step(n + 1, c + context) + o * n * (step(n + 1, c + context) - step(n, c))

which is the marginal cost of congestion pricing (Pigou, The economics of welfare, 1920): where everyone pays what he
costs the others, the sum of all is least. On unequal engines the fast one fills until a slow one costs no more.

An engine that has become slower than it is known to be (`scheduler.stragglers`) counts with the steps that it takes now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from scheduler.admission.base import Admission, Verdict
from scheduler.state import Call, EngineState
from scheduler.types import Seconds, Tokens
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class LeastDelay:
    """Least delay among the engines that would admit the call, by their step costs. A member stays where its KV is."""

    stragglers: bool = True
    """Whether engines that are slower than they are known to be get less."""
    binds: ClassVar[bool] = False

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        if len(engines) == 1:
            return engines[0]
        program = call.program
        if program.member and (call.extends or view.goes_on(program)):
            for engine in engines:
                if engine.id == program.engine:
                    return engine
        if admission.holds(view, call):
            admitting = [engine for engine in engines if admission.verdict(view, call, engine) is Verdict.ADMIT]
            if not admitting:
                return engines[0]
            engines = admitting
        output = view.output_left(call)
        if not self.stragglers:
            return min(engines, key=lambda engine: delay(view, call, engine, output))
        slower = view.learned.stragglers
        return min(engines, key=lambda engine: slower.factor(engine.id, view.now) * delay(view, call, engine, output))


def delay(view: View, call: Call, engine: EngineState, output: Tokens) -> Seconds:
    """Seconds that all programs together wait longer if the call goes to the engine and generates `output` tokens."""
    steps = view.steps(engine)
    there, held = max(len(engine.members), len(engine.running)), engine.account.occupied
    after = steps.decode(there + 1, held + call.reached)
    before = steps.decode(there, held)
    uncached = view.uncached(call, engine)
    prefill = steps.prefill(uncached, call.prompt - uncached)
    later = output - call.expected_output
    if later:
        prefill += steps.prefill(max(view.growth_after(call) - later, 0), call.reached)
    queued = steps.prefill(engine.backlog)
    return queued + prefill * (1 + there) + output * (after + there * (after - before))
