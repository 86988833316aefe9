"""llm-d's saturation gate: calls wait at the gateway while all engines have enough to do.

An engine is saturated if five requests wait in it, or 80 % of its KV memory is in use by requests. (llm-d router,
saturation detector of the flow control.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scheduler.admission.base import Verdict
from scheduler.admission.unlimited import Unlimited
from scheduler.state import Call, EngineState, EngineStatus
from scheduler.types import Seconds, Tokens
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class Saturation(Unlimited):
    """Admits a call if any engine that could take it is not saturated; to which one it goes is the placement's word.

    The original reads the engines' gauges 20 times a second; here the latest reading is carried on by what was sent,
    started and finished since. It sheds requests that have waited for 60 s, which ours never does.

    Attributes:
        queue: waiting requests with which an engine is saturated.
        memory: share of its KV tokens in use with which an engine is saturated.
        max_wait: seconds after which a call enters whatever the engines' state.
    """

    queue: int = 5
    memory: float = 0.8
    max_wait: float = math.inf

    def holds(self, view: View, call: Call) -> bool:
        return True

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        pool = (other for other in view.engines.values() if _serves(other, call.model))
        return Verdict.STOP if all(self._is_saturated(other) for other in pool) else Verdict.ADMIT

    def longest_wait(self, view: View, call: Call) -> Seconds:
        return self.max_wait

    def _is_saturated(self, engine: EngineState) -> bool:
        return queue_depth(engine) >= self.queue or kv_in_use(engine) >= self.memory * engine.account.capacity


def queue_depth(engine: EngineState) -> int:
    """How many requests wait inside the engine: those of the latest scrape, less the started ones, plus those sent."""
    depth = engine.queued
    for call in engine.running.values():
        if call.first_token is None:
            depth += call.dispatched > engine.scraped
        elif call.dispatched <= engine.scraped < call.first_token:
            depth -= 1
    return depth


def kv_in_use(engine: EngineState) -> Tokens:
    """KV tokens that requests reference: our count, corrected by how far it was off at the latest scrape."""
    return sum(call.prompt + call.output for call in engine.running.values()) - engine.drift


def _serves(engine: EngineState, model: str) -> bool:
    return engine.status is EngineStatus.UP and model in engine.spec.models
