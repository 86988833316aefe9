"""InferCept's choice between preserving a context and discarding it (arXiv 2402.01869).

A context of C tokens that stays while a tool runs wastes C for the tool's time T_INT. One that is discarded is computed
again in n chunks, which wastes half of C while that lasts, and the C_other tokens of the requests that run meanwhile:

    Preserve = T_INT * C
    Discard  = T_fwd(C) * C / 2 + n * T_fwd(C / n) * C_other

The tool's time is not known. The paper takes the time that it has run already, so that a context stays until Preserve
has grown to Discard:

    TTL = T_fwd(C) / 2 + n * T_fwd(C / n) * C_other / C

A chunk is what the running batch, one token a request, leaves of the S tokens that saturate a step of the engine.
T_fwd is the engine's own; where it is linear in the tokens, as in the paper, n * T_fwd(C / n) is T_fwd(C) and the
constant time of a step for each chunk but the first, and so it is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds, StepCost, Tokens
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class PreserveDiscard:
    """Keeps a context for as long as computing it again would waste no more memory.

    C_other is that of the moment at which the gap begins, where the original looks at each step; and there is no
    swapping, the third choice of the original.

    Attributes:
        saturation: S, in tokens; the value of the released code.
        bridge: the pin in seconds that travels with a request until the rule's own arrives.
    """

    saturation: int = 384
    bridge: float = 2.0

    def at_dispatch(self, view: View, call: Call, engine: EngineState) -> Seconds:
        return self.bridge

    def at_finish(self, view: View, program: Program, engine: EngineState) -> Seconds:
        if not program.context:
            return 0.0
        running = [call for call in engine.running.values() if call.first_token is not None or not call.streams]
        other = sum(call.prompt + call.output for call in running)
        chunks = ceil(program.context / max(self.saturation - len(running), 1))
        return break_even(engine.spec.steps, program.context, chunks, other)


def break_even(steps: StepCost, context: Tokens, chunks: int, other: Tokens) -> Seconds:
    """The time for which keeping `context` tokens wastes as much as discarding them."""
    forward = steps.prefill(context)
    return forward / 2 + (forward + (chunks - 1) * steps.constant) * other / context
