"""The gate: which call goes next, and to which engine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from scheduler.actions import Dispatch, Reject, RejectReason, Why
from scheduler.admission.base import Ruling, Verdict
from scheduler.alarms import Timer
from scheduler.desk import Desk
from scheduler.keeper import Keeper
from scheduler.line import Line
from scheduler.state import Call, EngineState
from scheduler.types import CallId, EngineId, Seconds

BEHIND = 10**9
"""What a call's priority in its engine is raised by, which puts it behind, if it stands behind other tenants'."""


class Gate:
    """The waiting line, and the only way onto an engine."""

    def __init__(self, desk: Desk, keeper: Keeper) -> None:
        self._desk = desk
        self._keeper = keeper
        self.line = Line()

    def take(self, call: Call) -> None:
        """Sends a call that need not wait; puts another in line, and lets the line move if it might for this one."""
        self._judge(call)
        candidates = self._candidates(call)
        if not candidates and self._desk.books.comes_back(call):
            self.line.join(call, self._desk.policies, self._desk.view)
            self._watch(call)
        elif not candidates:
            self._strand(call)
        elif self._is_given_up(call):
            self._refuse(call, RejectReason.TOO_LATE, _too_late(call, self._desk.now))
        elif self._enters_freely(call, candidates):
            self._dispatch(call, self._place(call, candidates))
        else:
            self.line.join(call, self._desk.policies, self._desk.view)
            self._watch(call)
            if self.line.moves(self._desk.policies) or not self.line.stands_behind(call):
                self.move({engine.id for engine in candidates})

    def move(self, open_engines: set[EngineId]) -> None:
        """Dispatches what may go, from the head, until each of these engines is closed."""
        policies, view = self._desk.policies, self._desk.view
        for call in self.line.walk(policies, view):
            if call.engine is not None:
                continue  # it has followed another of its program
            engines = self._candidates(call)
            if not call.aged:
                engines = [engine for engine in engines if engine.id in open_engines]
            if engines:
                engine = self._entrance(call, engines)
                if engine is not None:
                    self.line.leave(call)
                    self._dispatch(call, engine)
                else:
                    open_engines.difference_update(offered.id for offered in engines)
            if not open_engines:
                break

    def _entrance(self, call: Call, engines: Sequence[EngineState]) -> EngineState | None:
        """Where the call may go now, if anywhere."""
        policies, view = self._desk.policies, self._desk.view
        view.kept = policies.fairness.keeps(view, call)
        view.claims = policies.fairness.claims(view, call)
        engine = self._place(call, engines)
        admitted = call.aged or policies.admission.verdict(view, call, engine) is Verdict.ADMIT
        view.kept, view.claims = 0, False
        return engine if admitted else None

    def follow(self, rulings: Iterable[Ruling]) -> None:
        """Carries out what an overseer has decided on whole programs."""
        for program, engine in rulings:
            if engine is None:
                self._keeper.make_way(program)
            elif not program.calls:
                self._desk.books.enrol(program, engine)
            else:
                for call in list(program.calls.values()):
                    if call.engine is None and engine in self._desk.books.candidates(call):
                        self.line.leave(call)
                        self._dispatch(call, engine)

    def age(self, name: CallId) -> None:
        """An alarm has rung: if the call still waits, it goes now."""
        call = self._desk.books.calls.get(name)
        if call is not None and call.engine is None and not call.aged:
            self.line.age(call, self._desk.policies, self._desk.view)
            self._desk.books.roomier.update(self._desk.books.engines)

    def lose(self, name: CallId) -> None:
        """An alarm has rung: a call that still waits is too late from now on, and others may go before it."""
        call = self._desk.books.calls.get(name)
        if call is None or call.engine is not None or not self._is_lost(call):
            return
        if self._is_given_up(call):
            self._drop(call, RejectReason.TOO_LATE, _too_late(call, self._desk.now))
        else:
            self.line.find_place(call, self._desk.policies, self._desk.view)
        self._desk.books.roomier.update(self._desk.books.engines)

    def reorder(self) -> None:
        """Other policies are in force."""
        for call in self.line:
            self._judge(call)
        self.line.reorder(self._desk.policies, self._desk.view)
        for call in self.line:
            call.bound = None
            self._candidates(call)
            self._watch(call)
        self._desk.books.roomier.update(self._desk.books.engines)

    def strand_hopeless(self) -> None:
        """An engine went away: rejects the waiting calls that no other can take."""
        for call in self.line:
            if not self._candidates(call) and not self._desk.books.comes_back(call):
                self._drop(call, *_stranded(call))

    def _strand(self, call: Call) -> None:
        self._refuse(call, *_stranded(call))

    def _drop(self, call: Call, reason: RejectReason, detail: str) -> None:
        """Refuses one that stands in line."""
        self.line.leave(call)
        self._refuse(call, reason, detail)
        for listener in self._desk.policies.listeners:
            listener.call_dropped(self._desk.view, call)

    def _refuse(self, call: Call, reason: RejectReason, detail: str) -> None:
        self._desk.books.forget(call)
        self._desk.actions.append(Reject(call.id, reason, detail))
        self._keeper.rest(call.program, (), math.nan)

    def _is_lost(self, call: Call) -> bool:
        return call.lost <= self._desk.now

    def _is_given_up(self, call: Call) -> bool:
        triage = self._desk.policies.triage
        return triage is not None and not triage.serve_lost and self._is_lost(call)

    def _candidates(self, call: Call) -> list[EngineState]:
        """The engines that might take a call now: one alone, if the call is bound to it."""
        engines = self._desk.books.candidates(call)
        if not engines or not self._desk.policies.placement.binds:
            return engines
        bound = next((engine for engine in engines if engine.id == call.bound), None)
        if bound is None:
            bound = self._place(call, engines)
            if call.bound is not None:
                self._desk.books.roomier.add(bound.id)  # it may go there at once
            call.bound = bound.id
            for listener in self._desk.policies.listeners:
                listener.call_bound(self._desk.view, call, bound)
        return [bound]

    def _enters_freely(self, call: Call, candidates: Sequence[EngineState]) -> bool:
        """One that the policy lets pass, or one so long that an engine will refuse it at once."""
        too_long = any(call.prompt >= engine.spec.max_model_len for engine in candidates)
        return too_long or not self._desk.policies.admission.holds(self._desk.view, call)

    def _place(self, call: Call, engines: Sequence[EngineState]) -> EngineState:
        policies = self._desk.policies
        return policies.placement.choose(self._desk.view, call, engines, policies.admission)

    def _dispatch(self, call: Call, engine: EngineState) -> None:
        program, view, policies = call.program, self._desk.view, self._desk.policies
        why = _why(call, view.now, engine)
        self._put_on(call, engine, view.now)
        if engine.spec.retention and not program.ending:
            call.ttl = policies.retention.at_dispatch(view, call, engine)
        priority = policies.order.priority(view, call) + BEHIND * policies.fairness.behind(view, call)
        program.pin_until = 0.0
        waited = view.now - call.arrived
        self._desk.actions.append(
            Dispatch(call.id, engine.id, priority, program.rank, call.ttl, why, waited, call.expected_output)
        )
        for listener in policies.listeners:
            listener.call_dispatched(view, call, engine)
        for sibling in tuple(program.calls.values()):
            if sibling.engine is None and sibling is not call and self._may_follow(sibling, engine):
                self.line.leave(sibling)
                self._dispatch(sibling, engine)

    def seat(self, call: Call, engine: EngineState, since: Seconds) -> None:
        """Enters a call that runs on an engine since then, whoever sent it there."""
        call.ttl = call.program.pin_until = 0.0
        if self._desk.policies.placement.binds:
            call.bound = engine.id
            for listener in self._desk.policies.listeners:
                listener.call_bound(self._desk.view, call, engine)
        self._put_on(call, engine, since)
        for listener in self._desk.policies.listeners:
            listener.call_dispatched(self._desk.view, call, engine)

    def _put_on(self, call: Call, engine: EngineState, since: Seconds) -> None:
        if call.program.engine != engine.id or _is_rewritten(call):
            self._keeper.release(call.program)
        self._desk.books.put_on(call, engine, since, self._desk.view.uncached(call, engine))

    def _may_follow(self, call: Call, engine: EngineState) -> bool:
        """Whether a call that stands in line need not any more, now that its program is a member of an engine."""
        policies = self._desk.policies
        binds = policies.placement.binds and call.bound != engine.id
        there = engine in self._desk.books.candidates(call)
        return there and not binds and not policies.admission.holds(self._desk.view, call)

    def _judge(self, call: Call) -> None:
        """Notes from when on the call is too late, if the order tells."""
        triage = self._desk.policies.triage
        call.lost = math.inf if triage is None else triage.lost_at(self._desk.view, call)
        if call.lost > self._desk.now:
            self._desk.alarms.set(call.lost, Timer.LOST, call.id)

    def _watch(self, call: Call) -> None:
        longest = self._desk.policies.admission.longest_wait(self._desk.view, call)
        self._desk.alarms.set(max(call.arrived + longest, self._desk.now), Timer.AGED, call.id)


def _is_rewritten(call: Call) -> bool:
    """Whether the call's prompt leaves the program's history behind, and no other call of it runs."""
    program = call.program
    running = any(other.engine is not None for other in program.calls.values())
    return bool(program.context) and not call.extends and not running


def _stranded(call: Call) -> tuple[RejectReason, str]:
    if call.failed_on:
        return RejectReason.ENGINES_FAILED, f"{', '.join(call.failed_on)} did not take the call"
    return RejectReason.NO_ENGINE, f"the engines of {call.model!r} went down while the call waited"


def _too_late(call: Call, now: Seconds) -> str:
    told = "" if call.deadline is None else f", {max(0.0, call.deadline - now):.1f} s from now"
    return f"the deadline{told}, cannot be met any more: what is left of the program takes longer"


def _why(call: Call, now: Seconds, engine: EngineState) -> Why:
    if call.failed_on:
        return Why.RETRIED
    if call.aged:
        return Why.AGED
    if call.program.engine not in (None, engine.id):
        return Why.MOVED
    return Why.ADMITTED if now > call.arrived else Why.DIRECT
