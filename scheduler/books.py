"""The brain's books: calls, programs, engines, and the entries that tie them together.

Nothing here decides anything. A program is a *member* of the engine it was admitted to: its footprint stays in that
engine's account through its gaps, until it ends, moves or makes way.
"""

from __future__ import annotations

import math

from scheduler.account import footprint
from scheduler.learned import Learned
from scheduler.state import Call, EngineState, EngineStatus, Program
from scheduler.types import CallId, EngineId, ProgramKey, Seconds, TenantId, Tokens


class Books:
    """The tables, and every change to them that must leave them in agreement."""

    def __init__(self, learned: Learned) -> None:
        self.learned = learned
        self.calls: dict[CallId, Call] = {}
        self.programs: dict[ProgramKey, Program] = {}
        self.engines: dict[EngineId, EngineState] = {}
        self.roomier: set[EngineId] = set()
        """Engines where memory was given back, or which came up: a waiting call may fit there now."""
        self._up: dict[str, list[EngineState]] = {}

    def home(self, program: Program) -> EngineState | None:
        """The engine where the program's KV is, or was last."""
        return self.engines.get(program.engine) if program.engine is not None else None

    def pool(self, model: str) -> list[EngineState]:
        """The engines that serve a model, whatever their status."""
        return [engine for engine in self.engines.values() if model in engine.spec.models]

    def candidates(self, call: Call) -> list[EngineState]:
        """The engines that might take a call now."""
        up = self._up.get(call.model)
        if up is None:
            up = [engine for engine in self.pool(call.model) if engine.status is EngineStatus.UP]
            self._up[call.model] = up
        return [engine for engine in up if engine.id not in call.failed_on] if call.failed_on else up

    def comes_back(self, call: Call) -> bool:
        """Whether an engine that might take the call drains only for a while."""
        return any(engine.returns and engine.id not in call.failed_on for engine in self.pool(call.model))

    def set_engine(self, engine: EngineState) -> None:
        """Enters an engine, or a change of its status."""
        self.engines[engine.id] = engine
        self._up.clear()

    def put_on(self, call: Call, engine: EngineState, now: Seconds, uncached: int) -> None:
        """Enters a dispatched call with so many prompt tokens to prefill, and makes its program a member."""
        program = call.program
        if program.engine != engine.id:
            self.leave(program)
        engine.account.drop(program.key)
        program.engine = engine.id
        program.member = True
        engine.members[program.key] = program
        call.engine = engine.id
        call.first_token = None
        call.output = 0
        call.dispatched = now
        call.uncached = uncached if call.streams else 0
        call.prefill_ahead = engine.backlog
        engine.backlog += call.uncached
        engine.written += uncached + call.expected_output
        engine.running[call.id] = call
        self.charge(call, engine)

    def enrol(self, program: Program, engine: EngineState) -> None:
        """Makes a program in its gap a member, with the context it had."""
        self.leave(program)
        program.engine = engine.id
        program.member = True
        engine.members[program.key] = program
        self.rest(program, engine)

    def charge(self, call: Call, engine: EngineState) -> None:
        """Charges the account with what a running call holds and is expected to hold."""
        engine.account.hold(call.id, call.held)
        if call.program.engine == engine.id:
            self.set_growth(call.program, engine)

    def rest(self, program: Program, engine: EngineState) -> None:
        """Charges the account with the context of a member in its gap."""
        engine.account.hold(program.key, footprint(program.marks, program.tokens_per_byte, program.context))
        self.set_growth(program, engine)

    def set_growth(self, program: Program, engine: EngineState) -> None:
        """Counts anew what a member holds, and what it is expected still to grow by."""
        reached = program.context
        for call in program.calls.values():
            reached = max(reached, call.reached)
        peak = self.learned.expected_peak(program.key.tenant, program.kind, reached)
        self._count(program, engine, peak - reached, reached + (peak - reached) // 2)

    def _count(self, program: Program, engine: EngineState, growth: Tokens, claim: Tokens) -> None:
        """Replaces what a member counts for in the engine's sums."""
        tenant = program.key.tenant
        engine.growth += growth - program.growth
        engine.claims[tenant] = engine.claims.get(tenant, 0) + claim - program.claim
        if not engine.claims[tenant]:
            del engine.claims[tenant]
        program.growth, program.claim = growth, claim

    def first_token(self, call: Call, now: Seconds) -> None:
        """The call's prefill is done."""
        if call.engine is None or call.first_token is not None:
            return
        call.first_token = now
        engine = self.engines[call.engine]
        if call.id in engine.running:
            engine.backlog -= call.uncached

    def take_off(self, call: Call) -> None:
        """Takes a dispatched call off its engine; it may be dispatched again."""
        if call.engine is None:
            return
        engine = self.engines[call.engine]
        if engine.running.pop(call.id, None) is not None:
            engine.account.drop(call.id)
            if call.first_token is None:
                engine.backlog -= call.uncached
        call.engine = None
        self.roomier.add(engine.id)

    def forget(self, call: Call) -> None:
        """Removes a call that neither waits nor runs any more."""
        del self.calls[call.id]
        del call.program.calls[call.id]

    def leave(self, program: Program) -> None:
        """Ends a membership; `program.engine` stays, as the place where its KV was."""
        engine = self.home(program)
        if not program.member or engine is None:
            return
        del engine.members[program.key]
        engine.account.drop(program.key)
        self._count(program, engine, 0, 0)
        program.survives = engine.written + engine.free + engine.spec.offload_tokens - program.context
        program.member = program.marked = False
        self.roomier.add(engine.id)

    def empty(self, engine: EngineState) -> None:
        """All its KV is lost. Calls that ran there stay known until the driver says how each one ended."""
        for program in list(engine.members.values()):
            program.pin_until = 0.0
            self.leave(program)
            program.engine = None
        engine.running.clear()
        engine.account.clear()
        engine.backlog = engine.foreign = engine.drift = engine.kv_used = engine.queued = engine.scraped_running = 0
        engine.scraped = -math.inf

    def check_integrity(self) -> None:
        """Checks that the tables agree with each other.

        Raises:
            AssertionError: they do not; the message says which.
        """
        for name, call in self.calls.items():
            assert call.program.calls.get(name) is call, f"call {name} is unknown to its program"
            assert self.programs.get(call.program.key) is call.program, f"call {name} of a forgotten program"
        for engine in self.engines.values():
            self._check_engine(engine)
        for key, program in self.programs.items():
            if program.member:
                engine_of = self.home(program)
                assert engine_of is not None, f"program {key} is a member of nothing"
                assert engine_of.members.get(key) is program, f"{engine_of.id} misses its member {key}"

    def _check_engine(self, engine: EngineState) -> None:
        engine.account.check_integrity()
        for name, call in engine.running.items():
            assert self.calls.get(name) is call, f"{engine.id} runs the forgotten call {name}"
            assert call.engine == engine.id, f"{engine.id} runs {name}, which is on {call.engine}"
            assert name in engine.account, f"running call {name} is not in the account"
        growth = sum(program.growth for program in engine.members.values())
        assert engine.growth == growth, f"{engine.id}: growth {engine.growth} is not its members' {growth}"
        claims: dict[TenantId, Tokens] = {}
        for key, program in engine.members.items():
            claims[key.tenant] = claims.get(key.tenant, 0) + program.claim
        assert engine.claims == {tenant: tokens for tenant, tokens in claims.items() if tokens}, (
            f"{engine.id}: claims {engine.claims} are not its members' {claims}"
        )
        backlog = sum(call.uncached for call in engine.running.values() if call.first_token is None)
        assert engine.backlog == backlog, f"{engine.id}: backlog {engine.backlog} is not its calls' {backlog}"
        if not engine.running and not engine.members:
            assert engine.account.occupied == 0, f"{engine.id} is empty, yet {engine.account.occupied} tokens are held"
