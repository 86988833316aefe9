"""What policies may see: the brain's state at one moment, and the quantities derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.learned import Learned
from scheduler.plan import Plan
from scheduler.state import Call, EngineState, Program
from scheduler.types import DECODE_STEP, EngineId, ProgramKey, Seconds, StepCost, TenantId, Tokens

GOES_ON = 0.5
"""A program goes on with its context after a call if that is more likely than not."""


@dataclass(slots=True)
class View:
    """A read-only look at the brain. Policies compute from it and change nothing they find in it."""

    now: Seconds
    engines: Mapping[EngineId, EngineState]
    programs: Mapping[ProgramKey, Program]
    learned: Learned
    weights: Mapping[TenantId, float] = field(default_factory=dict)
    """Shares of tenants under contention, of those that were told; 1 for the others."""
    tiers: Mapping[TenantId, int] = field(default_factory=dict)
    """Strict tiers of tenants, of those that were told; 0 for the others. Calls of a smaller one go first."""
    plans: Mapping[str, Plan] = field(default_factory=dict)
    """Workflows that are declared, by name."""
    kept: Tokens = 0
    """What the call that is judged has to leave free on an engine, for other tenants."""
    claims: bool = False
    """The call that is judged takes what its tenant has a right to and others use: it need not leave them room to grow."""

    def prefill_seconds(self, engine: EngineState, tokens: Tokens) -> Seconds:
        """How long the engine takes to prefill that many uncached tokens."""
        return tokens / self.learned.prefill_rate(engine.id, engine.spec.prefill_tokens_per_s).value

    def steps(self, engine: EngineState) -> StepCost:
        """What the engine's steps take. Where nobody has measured them: what whole answers tell, or else a guess from the
        prefill rate that was learned.
        """
        pace = self.learned.paces.get(engine.id)
        fitted = pace.steps if pace is not None else None
        return engine.spec.cost or fitted or StepCost(DECODE_STEP, self.prefill_seconds(engine, 1))

    def cold_prefill(self, engine: EngineState, tokens: Tokens) -> Seconds:
        """How long the engine takes to prefill a prompt of which nothing is cached, attention included."""
        return self.steps(engine).prefill(tokens)

    def restore(self, engine: EngineState, tokens: Tokens) -> Seconds:
        """How long a context that was evicted takes to be there again, out of the offload tier if there is one."""
        spec = engine.spec
        return tokens / spec.offload_tokens_per_s if spec.offload_tokens else self.cold_prefill(engine, tokens)

    def uncached(self, call: Call, engine: EngineState) -> Tokens:
        """Prompt tokens the engine would have to prefill.

        It has the context of a member, and that of a program which has made way until so much was written since as was
        free then: blocks that nobody references are taken in the order in which they were freed. For a child, like a
        sample of a virtual call, it has the prompt's beginning that its siblings hold there.
        """
        program = call.program
        if program.engine == engine.id and call.extends and (program.member or engine.written <= program.survives):
            return max(call.prompt - program.context, 1)
        if program.parent is not None:
            return max(call.prompt - (call.held.tokens - engine.account.added_by(call.held)), 1)
        return call.prompt

    def finish_prefill(self, call: Call, engine: EngineState) -> Seconds:
        """Seconds until the call's first token there: the uncached tokens sent before it, then its own."""
        return self.prefill_seconds(engine, engine.backlog + self.uncached(call, engine))

    def needs(self, call: Call, engine: EngineState) -> Tokens:
        """Tokens the engine's account would grow by, should the call of a program that is no member go there."""
        return engine.account.added_by(call.held)

    def least_alone(self, model: str, prompt: Tokens, cached: Tokens, output: Tokens) -> Seconds:
        """What a call takes on the fastest of the model's engines while nothing else runs there."""
        engines = (engine for engine in self.engines.values() if model in engine.spec.models)
        return min(self.steps(engine).alone(prompt, cached, output) for engine in engines)

    def ahead(self, call: Call) -> Seconds:
        """What the call's program needs from the call on, at least (`scheduler.workflows`)."""
        program = call.program
        stage = self.learned.stages.get(call.stage_key)
        learned = None if stage is None else stage.usual
        alone = self.least_alone(call.model, call.prompt, 0, call.expected_output) if learned is None else learned
        if program.ending:
            return alone
        if program.remaining_calls is not None:
            return alone * max(program.remaining_calls, 1)
        planned = self._planned(call, alone)
        return alone + ((planned or 0.0) if stage is None else stage.after(call.number, planned))

    def plan(self, call: Call) -> Plan | None:
        """How its program's workflow is declared to go on after the call, if it is."""
        plan = self.plans.get(call.program.workflow)
        return plan if plan is not None and call.stage in plan else None

    def _planned(self, call: Call, alone: Seconds) -> Seconds | None:
        """What is ahead as it is declared; a stage that is not known yet is taken to need what the call itself does."""
        plan = self.plan(call)
        if plan is None:
            return None

        def seconds(stage: str) -> Seconds:
            known = self.learned.stages.get((call.program.key.tenant, call.program.workflow, stage))
            usual = None if known is None else known.usual
            return alone if usual is None else usual

        return plan.ahead(call.stage, call.number, seconds)

    def goes_on(self, program: Program) -> bool:
        """Whether the program's next call will rather begin with the context of the present one than not."""
        stats = self.learned.workflow(program.key.tenant, program.kind)
        return stats.returns(program.served + 1).value >= GOES_ON

    def output_left(self, call: Call) -> Tokens:
        """Tokens the program is expected still to generate where the call goes, the call's answer included.

        That is one answer of a program that does not go on with its context: its next call may go anywhere.
        """
        program = call.program
        if program.ending or not self.goes_on(program):
            return call.expected_output
        stats = self.learned.workflow(program.key.tenant, program.kind)
        left = program.remaining_calls
        if left is None:
            left = round(stats.calls.value) - program.served
        return call.expected_output * max(left, 1)

    def comes_back(self, program: Program) -> float:
        """The chance that the program's next call comes and is of a kind that goes on with the context of the latest.

        One whose agent has said that a join is ahead comes for certain. What it shares with the calls that it joins is a
        beginning, not all of their prompts, which looks to those who learn like a return that was of no use.
        """
        if program.join_ahead:
            return 1.0
        return self.learned.workflow(program.key.tenant, program.kind).returns(program.served).value

    def growth_after(self, call: Call) -> Tokens:
        """Tokens the call's program is expected to grow by after this call."""
        program = call.program
        reached = call.reached
        peak = self.learned.expected_peak(program.key.tenant, program.kind, reached)
        return peak - reached
