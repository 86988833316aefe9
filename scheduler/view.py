"""What policies may see: the brain's state at one moment, and the quantities derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.learned import Learned
from scheduler.state import Call, EngineState, Program
from scheduler.types import EngineId, ProgramKey, Seconds, TenantId, Tokens


@dataclass(slots=True)
class View:
    """A read-only look at the brain. Policies compute from it and change nothing they find in it."""

    now: Seconds
    engines: Mapping[EngineId, EngineState]
    programs: Mapping[ProgramKey, Program]
    learned: Learned
    weights: Mapping[TenantId, float] = field(default_factory=dict)
    """Shares of tenants under contention, of those that were told; 1 for the others."""

    def prefill_seconds(self, engine: EngineState, tokens: Tokens) -> Seconds:
        """How long the engine takes to prefill that many uncached tokens."""
        return tokens / self.learned.prefill_rate(engine.id, engine.spec.prefill_tokens_per_s).value

    def cold_prefill(self, engine: EngineState, tokens: Tokens) -> Seconds:
        """How long the engine takes to prefill a prompt of which nothing is cached, attention included."""
        return engine.spec.steps.prefill(tokens)

    def uncached(self, call: Call, engine: EngineState) -> Tokens:
        """Prompt tokens the engine would have to prefill, if it still has what it had of the program."""
        program = call.program
        if program.engine == engine.id and call.extends:
            return max(call.prompt - program.context, 1)
        return call.prompt

    def finish_prefill(self, call: Call, engine: EngineState) -> Seconds:
        """Seconds until the call's first token there: the uncached tokens sent before it, then its own."""
        return self.prefill_seconds(engine, engine.backlog + self.uncached(call, engine))

    def needs(self, call: Call, engine: EngineState) -> Tokens:
        """Tokens the engine's account would grow by, should the call of a program that is no member go there."""
        return engine.account.added_by(call.held)

    def growth_after(self, call: Call) -> Tokens:
        """Tokens the call's program is expected to grow by after this call."""
        program = call.program
        reached = call.reached
        peak = self.learned.expected_peak(program.key.tenant, program.workflow, reached)
        return peak - reached
