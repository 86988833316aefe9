"""The brain: events in, actions out. Synchronous, deterministic, without I/O, threads or a clock of its own.

`handle` is the only way in. It changes the state for the event, lets the waiting line move where that may have made
room, and returns what the driver has to do and when to wake it. Which call goes where and when is decided by the
policies; what is here is the bookkeeping that is the same under all of them:

- a *member* of an engine is a program that was admitted there. Its footprint stays in the engine's account through
  its gaps, its later calls enter without asking, and it stays a member until it ends, moves, or makes way;
- a program *makes way* when it is in a gap that has lasted longer than its admission policy's patience and a waiting
  program does not fit. Its pin is released, and its next call asks for admission again, by its old rank.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import Any, NamedTuple

from scheduler import events
from scheduler.account import Account, footprint
from scheduler.actions import Abort, Action, Dispatch, Reject, RejectReason, Release, Retain, Why
from scheduler.admission.base import Verdict
from scheduler.events import Event, PinOutcome
from scheduler.learned import Learned
from scheduler.policy import PolicyConfig
from scheduler.registry import build
from scheduler.state import Call, EngineState, EngineStatus, Program, extends, thin
from scheduler.types import CallId, EngineId, ProgramKey, Seconds, Tokens, Usage
from scheduler.view import View

IDLE_TIMEOUT: Seconds = 900.0
"""A program without a call for this long has ended."""
PREFILL_SAMPLE: Tokens = 256
"""Shortest uncached prompt from which a prefill rate is learned; shorter ones measure the engine's constant time."""
EVICTED_SHARE = 0.5
"""A later call of which less than this share of the known context was cached had lost its KV."""


class Decision(NamedTuple):
    """What the driver has to do now, and when to send a `Wakeup` unless another event comes first."""

    actions: tuple[Action, ...]
    next_wakeup: Seconds | None


class _Timer(Enum):
    AGED = "aged"
    OVERDUE = "overdue"
    IDLE = "idle"


@dataclass(frozen=True, slots=True, order=True)
class _Alarm:
    at: Seconds
    sequence: int
    timer: _Timer
    subject: CallId | ProgramKey
    gap: int


class Brain:
    """Schedules programs over engines. See the module's docstring for what it keeps true."""

    def __init__(
        self,
        policy: PolicyConfig,
        *,
        seed: int = 0,
        learned: Mapping[str, object] | None = None,
        idle_timeout: Seconds = IDLE_TIMEOUT,
    ) -> None:
        """Builds the policies.

        Raises:
            PolicyError: the policy names something unknown.
            ValueError: `learned` is not what `Learned.to_json` wrote.
        """
        self.policy = policy
        self.seed = seed
        self.idle_timeout = idle_timeout
        self.learned = Learned() if learned is None else Learned.from_json(learned)
        self.calls: dict[CallId, Call] = {}
        self.programs: dict[ProgramKey, Program] = {}
        self.engines: dict[EngineId, EngineState] = {}
        self.waiting: list[Call] = []
        self._policies = build(policy)
        self._view = View(0.0, self.engines, self.programs, self.learned)
        self._alarms: list[_Alarm] = []
        self._sequence = 0
        self._next_rank = 0
        self._actions: list[Action] = []
        self._room_made = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.CallArrived: self._call_arrived,
            events.CallSent: self._nothing,
            events.CallFirstToken: self._call_first_token,
            events.CallProgressed: self._call_progressed,
            events.CallFinished: self._call_finished,
            events.CallFailed: self._call_failed,
            events.CallCancelled: self._call_cancelled,
            events.DispatchFailed: self._dispatch_failed,
            events.ToolStarted: self._tool_started,
            events.ToolEnded: self._tool_ended,
            events.HintGiven: self._hint_given,
            events.ProgramEnded: self._program_ended,
            events.PinReported: self._pin_reported,
            events.EngineUp: self._engine_up,
            events.EngineDraining: self._engine_draining,
            events.EngineDown: self._engine_down,
            events.EngineObserved: self._engine_observed,
            events.PolicyChanged: self._policy_changed,
            events.TenantChanged: self._nothing,
            events.Wakeup: self._nothing,
        }

    @property
    def now(self) -> Seconds:
        """The time of the latest event."""
        return self._view.now

    def handle(self, event: Event) -> Decision:
        """Takes one event. Events about calls and programs that have ended are ignored.

        Raises:
            ValueError: `event.at` is before the previous event's.
        """
        if event.at < self._view.now:
            raise ValueError(f"time runs backwards: {event} after {self._view.now}")
        self._view.now = event.at
        self._ring_alarms()
        self._handlers[type(event)](event)
        if self._room_made:
            self._room_made = False
            self._move_line()
        actions = tuple(self._actions)
        self._actions.clear()
        return Decision(actions, self._alarms[0].at if self._alarms else None)

    # --- calls ------------------------------------------------------------------------------------------------------

    def _call_arrived(self, event: events.CallArrived) -> None:
        if event.call in self.calls:
            self._actions.append(Reject(event.call, RejectReason.DUPLICATE, f"call id {event.call!r} is in use"))
            return
        program = self._program_of(event)
        call = self._new_call(event, program)
        problem = self._cannot_serve(call, event.prompt_tokens)
        if problem is not None:
            self._actions.append(problem)
            self._end_if_done(program)
            return
        self.calls[call.id] = call
        program.calls[call.id] = call
        self._join_line(call)

    def _program_of(self, event: events.CallArrived) -> Program:
        program = self.programs.get(event.program)
        if program is None:
            parent = self.programs.get(event.parent) if event.parent else None
            rank = parent.rank if parent else self._next_rank
            self._next_rank += 1
            program = Program(
                event.program,
                rank,
                event.at,
                event.workflow,
                event.parent,
                self.learned.tokens_per_byte.value,
                event.at,
            )
            self.programs[event.program] = program
            self._set_alarm(event.at + self.idle_timeout, _Timer.IDLE, program.key)
        program.last_seen = event.at
        program.ending = program.ending or event.final
        self._end_gap(program)
        return program

    def _end_gap(self, program: Program) -> None:
        if program.gap_since is None:
            return
        gap = self.now - program.gap_since
        self.learned.gaps.observe(program.key.tenant, program.gap_tools, gap)
        program.gap_since = None
        program.expected_gap = None
        self._not_overdue(program)

    def _new_call(self, event: events.CallArrived, program: Program) -> Call:
        self._sequence += 1
        continues = extends(event.prefix, program.marks)
        output = self._expected_output(event)
        return Call(
            id=event.call,
            program=program,
            model=event.model,
            arrived=event.at,
            sequence=self._sequence,
            prompt=event.prompt_tokens or max(1, int(event.prompt_bytes * program.tokens_per_byte)),
            prompt_bytes=event.prompt_bytes,
            marks=thin(event.prefix),
            expected_output=output,
            extends=continues,
            final=event.final,
            stage=event.stage,
            deadline=event.deadline,
        )

    def _expected_output(self, event: events.CallArrived) -> Tokens:
        if event.expected_output is not None:
            return event.expected_output
        usual = int(self.learned.workflow(event.program.tenant, event.workflow).output.value)
        return usual if event.max_output is None else min(usual, event.max_output)

    def _cannot_serve(self, call: Call, exact_prompt: Tokens | None) -> Reject | None:
        pool = [engine for engine in self.engines.values() if call.model in engine.spec.models]
        if not pool:
            return Reject(call.id, RejectReason.UNKNOWN_MODEL, f"no engine serves model {call.model!r}")
        if not any(engine.status is EngineStatus.UP for engine in pool):
            names = ", ".join(f"{engine.id} is {engine.status.value}" for engine in pool)
            return Reject(call.id, RejectReason.NO_ENGINE, f"no engine of model {call.model!r} takes calls: {names}")
        longest = max(engine.spec.max_model_len for engine in pool)
        if exact_prompt is not None and exact_prompt >= longest:
            detail = f"the prompt has {exact_prompt} tokens, the model's context is {longest}"
            return Reject(call.id, RejectReason.TOO_LONG, detail)
        return None

    def _call_first_token(self, event: events.CallFirstToken) -> None:
        call = self.calls.get(event.call)
        if call is None or call.engine is None or call.first_token is not None:
            return
        call.first_token = event.at
        engine = self.engines[call.engine]
        engine.backlog -= call.uncached

    def _call_progressed(self, event: events.CallProgressed) -> None:
        call = self.calls.get(event.call)
        if call is None or call.engine is None:
            return
        call.output = max(call.output, event.output)
        if call.output > call.expected_output and call.id in self.engines[call.engine].account:
            call.expected_output = 2 * call.output
            self._hold(call, self.engines[call.engine])

    def _call_finished(self, event: events.CallFinished) -> None:
        call = self.calls.get(event.call)
        if call is None or call.engine is None:
            return
        program, engine = call.program, self.engines[call.engine]
        usage = event.usage or Usage(call.prompt, call.output)
        if event.usage is not None:
            self._learn_from(call, event.usage, engine)
        self._forget_call(call)
        program.served += 1
        program.last_seen = event.at
        if program.remaining_calls:
            program.remaining_calls -= 1
        if engine.status is EngineStatus.DOWN or program.engine != engine.id:
            self._end_if_done(program)
            return
        program.marks = call.marks
        program.context = usage.prompt + usage.output
        program.peak = max(program.peak, program.context)
        if program.calls:
            return
        if program.ending:
            self._end(program)
        else:
            self._begin_gap(program, engine, event.tools, call.ttl)

    def _learn_from(self, call: Call, usage: Usage, engine: EngineState) -> None:
        program, learned = call.program, self.learned
        if call.prompt_bytes:
            program.tokens_per_byte = usage.prompt / call.prompt_bytes
            learned.tokens_per_byte.add(program.tokens_per_byte)
        learned.workflow(program.key.tenant, program.workflow).output.add(usage.output)
        if call.first_token is None or usage.cached is None:
            return
        rate = learned.prefill_rate(engine.id, engine.spec.prefill_tokens_per_s)
        uncached = usage.prompt - usage.cached
        seconds = call.first_token - call.dispatched
        if uncached >= PREFILL_SAMPLE and seconds > 0:
            rate.add((uncached + call.prefill_ahead) / seconds)
        if program.served and usage.cached < EVICTED_SHARE * program.context:
            learned.eviction_delays.append(max(0.0, call.first_token - call.arrived - uncached / rate.value))

    def _begin_gap(self, program: Program, engine: EngineState, tools: tuple[str, ...], carried: Seconds) -> None:
        program.gap_since = self.now
        program.gap_tools = tools
        program.gap_number += 1
        held = footprint(program.marks, program.tokens_per_byte, program.context)
        engine.account.hold(program.key, held)
        self._set_growth(program, engine)
        self._pin(program, engine, carried)
        self._watch_gap(program)

    def _pin(self, program: Program, engine: EngineState, carried: Seconds) -> None:
        if not engine.spec.retention:
            return
        ttl = self._policies.retention.at_finish(self._view, program, engine)
        program.pin_until = self.now + ttl if ttl > 0 else 0.0
        if ttl == carried:
            return
        if ttl > 0:
            self._actions.append(Retain(program.key, engine.id, ttl))
        else:
            self._actions.append(Release(program.key, engine.id))

    def _watch_gap(self, program: Program) -> None:
        patience = program.expected_gap or self._policies.admission.patience(self._view, program)
        if math.isfinite(patience):
            self._set_alarm(self.now + patience, _Timer.OVERDUE, program.key, program.gap_number)

    def _call_failed(self, event: events.CallFailed) -> None:
        self._drop_call(event.call)

    def _call_cancelled(self, event: events.CallCancelled) -> None:
        call = self.calls.get(event.call)
        if call is not None and call.engine is not None:
            self._actions.append(Abort(call.id))
        self._drop_call(event.call)

    def _drop_call(self, name: CallId) -> None:
        """Ends a call without an answer. The program rests with the context it had before."""
        call = self.calls.get(name)
        if call is None:
            return
        program = call.program
        self._forget_call(call)
        program.last_seen = self.now
        if program.calls:
            return
        if program.ending or not program.served:
            self._end(program)
        elif program.member and program.engine is not None:
            engine = self.engines[program.engine]
            self._begin_gap(program, engine, (), math.nan)

    def _dispatch_failed(self, event: events.DispatchFailed) -> None:
        call = self.calls.get(event.call)
        if call is None or call.engine != event.engine:
            return
        self._leave_engine(call)
        call.failed_on = (*call.failed_on, event.engine)
        if self._candidates(call):
            self._join_line(call)
            return
        detail = f"{', '.join(call.failed_on)} did not take it ({event.reason.value})"
        self._actions.append(Reject(call.id, RejectReason.ENGINES_FAILED, detail))
        self._drop_call(call.id)

    # --- the line ---------------------------------------------------------------------------------------------------

    def _join_line(self, call: Call) -> None:
        order = self._policies.order.key(self._view, call)
        call.key = (float(not call.aged), self._policies.fairness.turn(self._view, call), order, call.sequence)
        program = call.program
        if not program.member and self._stands_behind(call):
            insort(self.waiting, call, key=_place)
            self._watch_wait(call)
            return
        insort(self.waiting, call, key=_place)
        self._move_line()
        if call.engine is None and call.id in self.calls:
            self._watch_wait(call)

    def _stands_behind(self, call: Call) -> bool:
        """Whether calls for the same model wait before it: then the line did not move for them, nor will it for it."""
        return any(other.model == call.model for other in self.waiting[:1] if other.key < call.key)

    def _watch_wait(self, call: Call) -> None:
        longest = self._policies.admission.longest_wait(self._view, call)
        if math.isfinite(longest) and not call.aged:
            self._set_alarm(call.arrived + longest, _Timer.AGED, call.id)

    def _move_line(self) -> None:
        """Dispatches what may go, from the head, until every engine is closed to newcomers."""
        closed: set[EngineId] = set()
        for call in list(self.waiting):
            open_engines = [
                engine
                for engine in self._candidates(call)
                if engine.id not in closed or (call.program.member and call.program.engine == engine.id) or call.aged
            ]
            if not open_engines:
                if not self._candidates(call):
                    self._reject_stranded(call)
                elif all(engine.id in closed for engine in self.engines.values() if engine.status is EngineStatus.UP):
                    break
                continue
            engine = self._policies.placement.choose(self._view, call, open_engines, self._policies.admission)
            if self._may_enter(call, engine):
                self._dispatch(call, engine)
            else:
                closed.add(engine.id)

    def _reject_stranded(self, call: Call) -> None:
        detail = f"the engines of model {call.model!r} went down while the call waited"
        self._actions.append(Reject(call.id, RejectReason.NO_ENGINE, detail))
        self._drop_call(call.id)

    def _candidates(self, call: Call) -> list[EngineState]:
        return [
            engine
            for engine in self.engines.values()
            if engine.status is EngineStatus.UP and call.model in engine.spec.models and engine.id not in call.failed_on
        ]

    def _may_enter(self, call: Call, engine: EngineState) -> bool:
        program = call.program
        if call.aged or (program.member and program.engine == engine.id):
            return True
        while (verdict := self._policies.admission.verdict(self._view, call, engine)) is not Verdict.ADMIT:
            if verdict is Verdict.SKIP or not engine.overdue:
                return False
            self._make_way(max(engine.overdue.values(), key=attrgetter("rank")), engine)
        return True

    def _make_way(self, program: Program, engine: EngineState) -> None:
        self._release_pin(program, engine)
        self._leave(program)

    def _dispatch(self, call: Call, engine: EngineState) -> None:
        self.waiting.remove(call)
        program = call.program
        waited = self.now - call.arrived
        moved = program.engine is not None and program.engine != engine.id
        why = _why(call, waited, moved)
        call.uncached = self._view.uncached(call, engine)
        self._move_program(program, call, engine)
        call.engine = engine.id
        call.dispatched = self.now
        call.prefill_ahead = engine.backlog
        engine.backlog += call.uncached
        engine.running[call.id] = call
        self._hold(call, engine)
        if engine.spec.retention and not program.ending:
            call.ttl = self._policies.retention.at_dispatch(self._view, call, engine)
        priority = self._policies.order.priority(self._view, call)
        program.pin_until = 0.0
        self._actions.append(Dispatch(call.id, engine.id, priority, program.rank, call.ttl, why, waited))

    def _hold(self, call: Call, engine: EngineState) -> None:
        """Charges the engine's account with what the call holds and will hold."""
        tokens_per_byte = call.prompt / max(call.prompt_bytes, 1)
        engine.account.hold(call.id, footprint(call.marks, tokens_per_byte, call.footprint_tokens))
        self._set_growth(call.program, engine)

    def _move_program(self, program: Program, call: Call, engine: EngineState) -> None:
        """Makes the program a member of the engine, and its resting context give way to the call's."""
        if program.engine is not None and program.engine != engine.id:
            former = self.engines.get(program.engine)
            if former is not None:
                self._release_pin(program, former)
            self._leave(program)
        elif not call.extends and program.context and not any(other.engine for other in program.calls.values()):
            self._release_pin(program, engine)
        engine.account.drop(program.key)
        program.engine = engine.id
        program.member = True
        engine.members[program.key] = program

    def _release_pin(self, program: Program, engine: EngineState) -> None:
        if program.pin_until > self.now and engine.spec.retention and engine.status is not EngineStatus.DOWN:
            self._actions.append(Release(program.key, engine.id))
        program.pin_until = 0.0

    def _set_growth(self, program: Program, engine: EngineState) -> None:
        reached = max([program.context, *(call.footprint_tokens for call in program.calls.values())])
        peak = self.learned.expected_peak(program.key.tenant, program.workflow, reached)
        engine.growth += peak - reached - program.growth
        program.growth = peak - reached

    # --- ends -------------------------------------------------------------------------------------------------------

    def _forget_call(self, call: Call) -> None:
        del self.calls[call.id]
        del call.program.calls[call.id]
        if call.engine is None:
            self.waiting.remove(call)
            self._room_made = True
        else:
            self._leave_engine(call)

    def _leave_engine(self, call: Call) -> None:
        """Takes a dispatched call off its engine's books."""
        assert call.engine is not None, "only a dispatched call leaves an engine"
        engine = self.engines[call.engine]
        if engine.running.pop(call.id, None) is not None:
            engine.account.drop(call.id)
            if call.first_token is None:
                engine.backlog -= call.uncached
        call.engine = None
        call.first_token = None
        call.output = 0
        self._room_made = True

    def _end_if_done(self, program: Program) -> None:
        if not program.calls and (program.ending or not program.served):
            self._end(program)

    def _end(self, program: Program) -> None:
        if program.engine is not None and (engine := self.engines.get(program.engine)) is not None:
            self._release_pin(program, engine)
        self._leave(program)
        if program.served:
            stats = self.learned.workflow(program.key.tenant, program.workflow)
            stats.peak.add(program.peak)
            stats.calls.add(program.served)
            self.learned.turns.add_program(program.served)
        self.programs.pop(program.key, None)

    def _leave(self, program: Program) -> None:
        """Ends the program's membership; `program.engine` stays, as the place where its KV was."""
        self._not_overdue(program)
        if not program.member or program.engine is None:
            return
        engine = self.engines[program.engine]
        engine.members.pop(program.key, None)
        engine.account.drop(program.key)
        engine.growth -= program.growth
        program.growth = 0
        program.member = False
        self._room_made = True

    def _not_overdue(self, program: Program) -> None:
        if program.overdue and program.engine is not None:
            self.engines[program.engine].overdue.pop(program.key, None)
        program.overdue = False

    # --- programs and pins ------------------------------------------------------------------------------------------

    def _tool_started(self, event: events.ToolStarted) -> None:
        program = self.programs.get(event.program)
        if program is None or program.gap_since is None or program.engine is None:
            return
        program.gap_tools = (event.tool,)
        program.gap_number += 1
        self._not_overdue(program)
        if program.member:
            self._pin(program, self.engines[program.engine], math.nan)
            self._watch_gap(program)

    def _tool_ended(self, event: events.ToolEnded) -> None:
        program = self.programs.get(event.program)
        if program is not None:
            program.gap_number += 1
            self._not_overdue(program)

    def _hint_given(self, event: events.HintGiven) -> None:
        program = self.programs.get(event.program)
        if program is None:
            return
        if event.remaining_calls is not None:
            program.remaining_calls = event.remaining_calls
        if event.expected_gap is not None:
            program.expected_gap = event.expected_gap
            if program.gap_since is not None:
                program.gap_number += 1
                self._not_overdue(program)
                self._watch_gap(program)

    def _program_ended(self, event: events.ProgramEnded) -> None:
        program = self.programs.get(event.program)
        if program is None:
            return
        program.ending = True
        if not program.calls:
            self._end(program)

    def _pin_reported(self, event: events.PinReported) -> None:
        program = self.programs.get(event.program)
        gone = event.outcome in (PinOutcome.BROKEN, PinOutcome.EXPIRED, PinOutcome.LOST)
        if program is not None and gone and program.engine == event.engine:
            program.pin_until = 0.0

    # --- engines ----------------------------------------------------------------------------------------------------

    def _engine_up(self, event: events.EngineUp) -> None:
        if event.engine in self.engines:
            self._empty(self.engines[event.engine])
        running = self.engines[event.engine].running if event.engine in self.engines else {}
        self.engines[event.engine] = EngineState(
            event.engine, event.spec, Account(event.spec.kv_tokens), running=running
        )
        for call in self.waiting:
            call.failed_on = tuple(name for name in call.failed_on if name != event.engine)
        self._room_made = True

    def _engine_draining(self, event: events.EngineDraining) -> None:
        engine = self.engines.get(event.engine)
        if engine is not None and engine.status is EngineStatus.UP:
            engine.status = EngineStatus.DRAINING
            self._room_made = True

    def _engine_down(self, event: events.EngineDown) -> None:
        engine = self.engines.get(event.engine)
        if engine is not None:
            engine.status = EngineStatus.DOWN
            self._empty(engine)
            self._room_made = True

    def _empty(self, engine: EngineState) -> None:
        """All KV is lost. Calls that ran there stay known until the driver says how each one ended."""
        for program in list(engine.members.values()):
            program.pin_until = 0.0
            self._leave(program)
            program.engine = None
        engine.running.clear()
        engine.account.clear()
        engine.backlog = engine.foreign = engine.drift = 0

    def _engine_observed(self, event: events.EngineObserved) -> None:
        engine = self.engines.get(event.engine)
        if engine is None or engine.status is EngineStatus.DOWN:
            return
        ours = sum(call.prompt + call.output for call in engine.running.values() if call.dispatched <= event.as_of)
        before = engine.foreign
        engine.drift = ours - event.kv_used
        sent_since = sum(call.footprint_tokens for call in engine.running.values() if call.dispatched > event.as_of)
        engine.foreign = max(0, event.kv_used - ours - sent_since - len(engine.running) * engine.spec.block_size)
        if engine.foreign < before:
            self._room_made = True

    def _policy_changed(self, event: events.PolicyChanged) -> None:
        self._policies = build(event.policy)
        self.policy = event.policy
        line, self.waiting = self.waiting, []
        for call in line:
            order = self._policies.order.key(self._view, call)
            call.key = (float(not call.aged), self._policies.fairness.turn(self._view, call), order, call.sequence)
            insort(self.waiting, call, key=_place)
            self._watch_wait(call)
        self._room_made = True

    def _nothing(self, event: Event) -> None:
        """The event matters to logs and drivers, not to a decision."""

    # --- alarms -----------------------------------------------------------------------------------------------------

    def _set_alarm(self, at: Seconds, timer: _Timer, subject: CallId | ProgramKey, gap: int = 0) -> None:
        self._sequence += 1
        heapq.heappush(self._alarms, _Alarm(at, self._sequence, timer, subject, gap))

    def _ring_alarms(self) -> None:
        while self._alarms and self._alarms[0].at <= self.now:
            alarm = heapq.heappop(self._alarms)
            if alarm.timer is _Timer.AGED:
                self._ring_aged(CallId(str(alarm.subject)))
            elif isinstance(alarm.subject, ProgramKey) and (program := self.programs.get(alarm.subject)) is not None:
                if alarm.timer is _Timer.IDLE:
                    self._ring_idle(program)
                elif alarm.gap == program.gap_number:
                    self._ring_overdue(program)

    def _ring_aged(self, name: CallId) -> None:
        call = self.calls.get(name)
        if call is None or call.engine is not None or call.aged:
            return
        self.waiting.remove(call)
        call.aged = True
        call.key = (0.0, *call.key[1:])
        insort(self.waiting, call, key=_place)
        self._room_made = True

    def _ring_overdue(self, program: Program) -> None:
        if program.gap_since is None or not program.member or program.engine is None:
            return
        program.overdue = True
        self.engines[program.engine].overdue[program.key] = program
        self._room_made = self._room_made or bool(self.waiting)

    def _ring_idle(self, program: Program) -> None:
        deadline = program.last_seen + self.idle_timeout
        if program.calls or deadline > self.now:
            self._set_alarm(max(deadline, self.now + 1.0), _Timer.IDLE, program.key)
        else:
            self._end(program)

    # --- integrity --------------------------------------------------------------------------------------------------

    def check_integrity(self) -> None:
        """Checks that the books agree with each other.

        Raises:
            AssertionError: they do not; the message says which.
        """
        waiting = {call.id for call in self.waiting}
        assert len(waiting) == len(self.waiting), "a call stands in line twice"
        assert self.waiting == sorted(self.waiting, key=_place), "the line is out of order"
        for name, call in self.calls.items():
            assert (name in waiting) == (call.engine is None), f"call {name} neither waits nor runs, or does both"
            assert call.program.calls.get(name) is call, f"call {name} is unknown to its program"
            assert self.programs.get(call.program.key) is call.program, f"call {name} of a forgotten program"
        for engine in self.engines.values():
            self._check_engine(engine)
        for program in self.programs.values():
            if program.member:
                assert program.engine is not None, f"program {program.key} is a member of nothing"
                assert self.engines[program.engine].members.get(program.key) is program, "an engine misses a member"

    def _check_engine(self, engine: EngineState) -> None:
        engine.account.check_integrity()
        for name, call in engine.running.items():
            assert self.calls.get(name) is call, f"{engine.id} runs the forgotten call {name}"
            assert call.engine == engine.id, f"{engine.id} runs {name}, which is on {call.engine}"
            assert name in engine.account, f"running call {name} is not in the account"
        growth = sum(program.growth for program in engine.members.values())
        assert engine.growth == growth, f"{engine.id}: growth {engine.growth} is not its members' {growth}"
        backlog = sum(call.uncached for call in engine.running.values() if call.first_token is None)
        assert engine.backlog == backlog, f"{engine.id}: backlog {engine.backlog} is not its calls' {backlog}"
        assert engine.overdue.keys() <= engine.members.keys(), f"{engine.id}: overdue programs that are no members"
        if not engine.running and not engine.members:
            assert engine.account.occupied == 0, f"{engine.id} is empty, yet {engine.account.occupied} tokens are held"


_place = attrgetter("key")


def _why(call: Call, waited: Seconds, moved: bool) -> Why:
    if call.failed_on:
        return Why.RETRIED
    if call.aged:
        return Why.AGED
    if moved:
        return Why.MOVED
    return Why.ADMITTED if waited > 0 else Why.DIRECT
