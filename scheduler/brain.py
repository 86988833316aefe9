"""The brain: events in, actions out. Synchronous, deterministic, without I/O, threads or a clock of its own.

`handle` is the only way in. It enters the event into the books, lets the waiting line move where that may have made
room, and returns what the driver has to do and when to wake it. Which call goes where and when is the policies' word:

- a member's calls enter their engine without asking; others stand in line if the admission policy holds them;
- a member *makes way* when its gap has lasted as long as the admission policy lets it: its memory is no longer
  reserved and its pin is released, so that its KV stays only while nobody needs the room;
- a call that has waited as long as the admission policy lets calls wait enters whether it fits or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from scheduler import departures, events
from scheduler.account import NOTHING, Account
from scheduler.actions import Abort, Action, Reject, RejectReason
from scheduler.admission.base import Occasion
from scheduler.alarms import Alarm, Timer
from scheduler.books import Books
from scheduler.desk import Desk
from scheduler.events import Event, PinOutcome
from scheduler.gate import Gate
from scheduler.keeper import Keeper
from scheduler.learned import Learned, kind_of
from scheduler.mover import Mover
from scheduler.plan import Plan
from scheduler.policy import PolicyConfig
from scheduler.procedures.desk import Cell, Procedures
from scheduler.registry import build
from scheduler.state import Call, EngineState, EngineStatus, Program, extends, thin
from scheduler.types import CallId, EngineId, ProgramKey, Seconds, TenantId, Tokens, Usage
from scheduler.view import View
from scheduler.workflows import Answered
from scheduler.working_set import WorkingSet

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


class Brain:
    """Schedules programs over engines. `programs`, `calls` and `engines` are there to be read."""

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
        self._books = Books(self.learned)
        self._weights: dict[TenantId, float] = {}
        self._tiers: dict[TenantId, int] = {}
        self._plans: dict[str, Plan] = {}
        self._view = View(
            0.0, self._books.engines, self._books.programs, self.learned, self._weights, self._tiers, self._plans
        )
        self._desk = Desk(build(policy), self._books, self._view)
        self._keeper = Keeper(self._desk, idle_timeout)
        self._gate = Gate(self._desk, self._keeper)
        self._mover = Mover(self._desk, self._keeper)
        self._alarms = self._desk.alarms
        self._actions = self._desk.actions
        cell = Cell(self._places, self._withdraw, self._end_program)
        self._procedures = Procedures(cell, self._actions, self.learned.calibration)
        self._arrivals = 0
        self._ranks = 0
        self._next_tick = 0.0
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.CallArrived: self._call_arrived,
            events.CallAnnounced: self._call_announced,
            events.CallSent: self._noted,
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
            events.Prewarmed: self._prewarmed,
            events.EngineUp: self._engine_up,
            events.EngineDraining: self._engine_draining,
            events.EngineResumed: self._engine_resumed,
            events.EngineDown: self._engine_down,
            events.EngineObserved: self._engine_observed,
            events.PolicyChanged: self._policy_changed,
            events.TenantChanged: self._tenant_changed,
            events.WorkflowDeclared: self._workflow_declared,
            events.ProcedureBegun: self._procedure_begun,
            events.StepEnded: self._step_ended,
            events.StepFailed: self._step_failed,
            events.ProcedureCancelled: self._procedure_cancelled,
            events.Wakeup: self._noted,
        }

    @property
    def calls(self) -> Mapping[CallId, Call]:
        """Calls that wait or run."""
        return self._books.calls

    @property
    def programs(self) -> Mapping[ProgramKey, Program]:
        """Programs that have not ended."""
        return self._books.programs

    @property
    def engines(self) -> Mapping[EngineId, EngineState]:
        """Engines that were ever up."""
        return self._books.engines

    @property
    def plans(self) -> Mapping[str, Plan]:
        """Workflows that are declared, by name."""
        return self._plans

    @property
    def now(self) -> Seconds:
        """When the latest event was."""
        return self._view.now

    @property
    def waiting(self) -> int:
        """How many calls stand in line."""
        return len(self._gate.line)

    def empties(self, engine: EngineId) -> bool:
        """Whether an engine that leaves still has calls that run, or programs that move."""
        state = self.engines.get(engine)
        return state is not None and (bool(state.running) or self._mover.remain(engine))

    def working_sets(self, models: Iterable[str]) -> dict[str, WorkingSet]:
        """What live programs want to have in memory, by model. One in a gap counts where its KV is, or was last."""
        sets = {model: WorkingSet() for model in models}
        for program in self.programs.values():
            home = self._books.home(program)
            call = next(iter(program.calls.values()), None)
            names = (call.model,) if call is not None else home.spec.models if home is not None else ()
            for model in names:
                if model in sets:
                    sets[model].add(program, departures.awaited_in(self._view, program))
                    break
        return sets

    def handle(self, event: Event) -> Decision:
        """Takes one event. Events about calls and programs that have ended are ignored.

        Raises:
            ValueError: `event.at` is before the previous event's.
        """
        view = self._view
        if event.at < view.now:
            raise ValueError(f"time runs backwards: {event} after {view.now}")
        view.now = event.at
        due = self._alarms.next
        if due is not None and due <= event.at:
            for alarm in self._alarms.due(event.at):
                self._ring(alarm)
        self._handlers[type(event)](event)
        if self._books.roomier:
            roomier = set(self._books.roomier)
            self._books.roomier.clear()
            if len(self._gate.line):
                self._gate.move(roomier)
        actions = tuple(self._actions)
        self._actions.clear()
        return Decision(actions, self._alarms.next)

    def check_integrity(self) -> None:
        """Checks that the books agree with each other and with the line.

        Raises:
            AssertionError: they do not; the message says which.
        """
        self._books.check_integrity()
        self._gate.line.check_integrity()
        self._procedures.check_integrity()
        waiting = {call.id for call in self._gate.line}
        for name, call in self.calls.items():
            assert (name in waiting) == (call.engine is None), f"call {name} neither waits nor runs, or does both"

    # --- a call's life ----------------------------------------------------------------------------------------------

    def _call_arrived(self, event: events.CallArrived) -> None:
        if event.call in self.calls:
            self._reject(event.call, RejectReason.DUPLICATE, f"call id {event.call!r} is in use")
        elif not self._refuses(event):
            self._gate.take(self._enter(event))
            self._review(Occasion.ARRIVAL)

    def _call_announced(self, event: events.CallAnnounced) -> None:
        """Corrects what is known of a call, or learns of it."""
        arrival = event.arrival
        call = self.calls.get(arrival.call)
        if event.engine is None:
            if call is None:
                self._call_arrived(arrival)
            elif call.engine is not None:
                self._take_back(call)
                self._gate.take(call)
            return
        engine = self.engines.get(event.engine)
        if engine is None:
            self._actions.append(Abort(arrival.call))
            return
        if call is None:
            self._gate.seat(self._enter(arrival), engine, event.since)
        elif call.engine is None:
            self._gate.line.leave(call)
            self._gate.seat(call, engine, event.since)
        elif call.engine != engine.id:
            self._take_back(call)
            self._gate.seat(call, engine, event.since)
        known = self.calls[arrival.call]
        known.output = max(known.output, event.output)
        if event.started:
            self._books.first_token(known, event.at)

    def _take_back(self, call: Call) -> None:
        """Takes a call off its engine, to go elsewhere."""
        self._books.take_off(call)
        for listener in self._desk.policies.listeners:
            listener.call_dropped(self._view, call)

    def _refuses(self, event: events.CallArrived) -> bool:
        """Rejects a call that no engine can serve."""
        pool = self._books.pool(event.model)
        if not pool:
            self._reject(event.call, RejectReason.UNKNOWN_MODEL, f"no engine serves model {event.model!r}")
            return True
        if not any(engine.status is EngineStatus.UP or engine.returns for engine in pool):
            names = ", ".join(f"{engine.id} is {engine.status.value}" for engine in pool)
            self._reject(event.call, RejectReason.NO_ENGINE, f"no engine of {event.model!r} takes calls: {names}")
            return True
        longest = max(engine.spec.max_model_len for engine in pool)
        if event.prompt_tokens is not None and event.prompt_tokens >= longest:
            detail = f"the prompt has {event.prompt_tokens} tokens, the model's context is {longest}"
            self._reject(event.call, RejectReason.TOO_LONG, detail)
            return True
        return False

    def _enter(self, event: events.CallArrived) -> Call:
        """Enters a call into the books; it neither waits nor runs yet."""
        call = self._new_call(event, self._program_of(event))
        self._books.calls[call.id] = call
        program = call.program
        if not program.served and not program.calls:
            self.learned.newcomer.add(call.reached + self._view.growth_after(call) / 2)
        program.calls[call.id] = call
        if call.stage:
            call.number = program.stages.get(call.stage, 0)
            program.stages[call.stage] = call.number + 1
            self.learned.stage(call.stage_key).prompted(program.key, event.prefix, program.tokens_per_byte)
        for listener in self._desk.policies.listeners:
            listener.call_arrived(self._view, call)
        return call

    def _program_of(self, event: events.CallArrived) -> Program:
        program = self.programs.get(event.program)
        if program is None:
            program = self._new_program(event)
        else:
            self._keeper.come_back(program, extends=extends(event.prefix, program.marks))
        program.last_seen = event.at
        program.ending = program.ending or event.final
        if event.remaining_calls is not None:
            program.remaining_calls = event.remaining_calls
        program.join_ahead = event.join or (program.join_ahead and bool(program.calls))
        return program

    def _new_program(self, event: events.CallArrived) -> Program:
        parent = self.programs.get(event.parent) if event.parent else None
        place = self._procedures.place_of(event.call) if parent is None else (parent.rank, parent.born)
        rank, born = place or (self._next_rank(), event.at)
        ratio = self.learned.tokens_per_byte.value
        kind = kind_of(event.workflow, event.prompt_tokens or int(event.prompt_bytes * ratio))
        program = Program(event.program, rank, event.at, born, event.workflow, kind, event.parent, ratio, event.at)
        self._books.programs[program.key] = program
        self._keeper.meet(program)
        self._expect_review()
        return program

    def _next_rank(self) -> int:
        self._ranks += 1
        return self._ranks - 1

    def _new_call(self, event: events.CallArrived, program: Program) -> Call:
        self._arrivals += 1
        call = Call(
            id=event.call,
            program=program,
            model=event.model,
            arrived=event.at,
            sequence=self._arrivals,
            prompt=event.prompt_tokens or max(1, int(event.prompt_bytes * program.tokens_per_byte)),
            prompt_bytes=event.prompt_bytes,
            marks=thin(event.prefix),
            held=NOTHING,
            expected_output=0,
            extends=extends(event.prefix, program.marks),
            final=event.final,
            streams=event.streams,
            stops=event.stops,
            stage=event.stage,
            deadline=event.deadline,
            siblings=event.siblings,
            priority=event.priority,
        )
        call.expect(self._expected_output(event, program))
        return call

    def _expected_output(self, event: events.CallArrived, program: Program) -> Tokens:
        if event.expected_output is not None:
            return event.expected_output
        usual = int(self.learned.workflow(program.key.tenant, program.kind).output.value)
        return usual if event.max_output is None else min(usual, event.max_output)

    def _call_first_token(self, event: events.CallFirstToken) -> None:
        call = self.calls.get(event.call)
        if call is not None:
            self._books.first_token(call, event.at)
            if call.engine is not None and self._gate.line.moves(self._desk.policies):
                self._books.roomier.add(call.engine)

    def _call_progressed(self, event: events.CallProgressed) -> None:
        call = self.calls.get(event.call)
        if call is None or call.engine is None:
            return
        call.output = max(call.output, event.output)
        engine = self.engines[call.engine]
        if call.output > call.expected_output and call.id in engine.running:
            call.expect(2 * call.output)
            self._books.charge(call, engine)

    def _call_finished(self, event: events.CallFinished) -> None:
        call = self.calls.get(event.call)
        if call is None or call.engine is None:
            return
        program, engine = call.program, self.engines[call.engine]
        usage = event.usage or Usage(call.prompt, call.output)
        if event.usage is not None:
            self._learn_from(call, event.usage, engine)
        here = call.id in engine.running
        self._books.take_off(call)
        self._books.forget(call)
        program.served += 1
        program.last_seen = event.at
        if program.remaining_calls:
            program.remaining_calls -= 1
        if here and program.engine == engine.id:
            program.marks = call.marks
            program.context = usage.prompt + usage.output
            program.peak = max(program.peak, program.context)
        for listener in self._desk.policies.listeners:
            listener.call_finished(self._view, call, usage, engine)
        self._keeper.rest(program, event.tools, math.nan if call.stops else call.ttl)
        self._mover.go_on()
        self._review(Occasion.FINISH)

    def _learn_from(self, call: Call, usage: Usage, engine: EngineState) -> None:
        program, learned = call.program, self.learned
        if call.prompt_bytes:
            program.tokens_per_byte = usage.prompt / call.prompt_bytes
            learned.tokens_per_byte.add(program.tokens_per_byte)
        stats, took = learned.workflow(program.key.tenant, program.kind), self._view.now - call.dispatched
        stats.output.add(usage.output)
        stats.call_work.add(took)
        program.work += took
        if call.stage:
            self._learn_stage(call, usage, engine)
        if call.first_token is None:
            prefilled = usage.prompt - (usage.cached or 0) + call.prefill_ahead
            learned.pace(engine.id).add(prefilled, usage.output, took)
            return
        decoded = self._view.now - call.first_token
        if usage.output > 1 and decoded > 0 and call.id in engine.running:
            step = self._view.steps(engine).decode(len(engine.running), engine.account.occupied)
            if step:  # whole answers may have told that tokens cost nothing, which says nothing of an engine
                learned.stragglers.add(engine.id, decoded / (usage.output - 1) / step, self._view.now)
        if usage.cached is None:
            return
        rate = learned.prefill_rate(engine.id, engine.spec.prefill_tokens_per_s)
        uncached = usage.prompt - usage.cached
        seconds = call.first_token - call.dispatched
        if uncached >= PREFILL_SAMPLE and seconds > 0:
            rate.add((uncached + call.prefill_ahead) / seconds)
        if program.served and usage.cached < EVICTED_SHARE * program.context:
            learned.eviction_delays.append(max(0.0, call.first_token - call.arrived - uncached / rate.value))

    def _learn_stage(self, call: Call, usage: Usage, engine: EngineState) -> None:
        """Where step costs are guessed, what calls take alone is bounded by what they took."""
        now = self._view.now
        seconds = now - call.dispatched
        alone = min(seconds, self._view.least_alone(call.model, usage.prompt, usage.cached or 0, usage.output))
        self.learned.stage(call.stage_key).answered(engine.id, seconds, alone, usage.output)
        call.program.answered.append(Answered(call.stage, call.number, call.arrived, now, alone))

    def _call_failed(self, event: events.CallFailed) -> None:
        call = self.calls.get(event.call)
        if call is not None:
            self._drop(call)

    def _call_cancelled(self, event: events.CallCancelled) -> None:
        call = self.calls.get(event.call)
        if call is None:
            return
        if call.engine is not None:
            self._actions.append(Abort(call.id))
        self._drop(call)

    def _dispatch_failed(self, event: events.DispatchFailed) -> None:
        call = self.calls.get(event.call)
        if call is None or call.engine != event.engine:
            return
        call.failed_on = (*call.failed_on, event.engine)
        self._take_back(call)
        self._gate.take(call)

    def _drop(self, call: Call) -> None:
        """Ends a call without an answer. Its program rests with the context it had before."""
        if call.engine is None:
            self._gate.line.leave(call)
        self._books.take_off(call)
        self._books.forget(call)
        for listener in self._desk.policies.listeners:
            listener.call_dropped(self._view, call)
        call.program.last_seen = self._view.now
        self._keeper.rest(call.program, (), math.nan)

    def _reject(self, call: CallId, reason: RejectReason, detail: str) -> None:
        self._actions.append(Reject(call, reason, detail))

    # --- programs and pins ------------------------------------------------------------------------------------------

    def _tool_started(self, event: events.ToolStarted) -> None:
        program = self.programs.get(event.program)
        if program is not None:
            self._keeper.name_tool(program, event.tool)

    def _tool_ended(self, event: events.ToolEnded) -> None:
        program = self.programs.get(event.program)
        if program is not None:
            self._keeper.look_again(program)

    def _hint_given(self, event: events.HintGiven) -> None:
        program = self.programs.get(event.program)
        if program is None:
            return
        if event.remaining_calls is not None:
            program.remaining_calls = event.remaining_calls
            for call in program.calls.values():
                self._gate.line.find_place(call, self._desk.policies, self._view)
        if event.expected_gap is not None:
            program.expected_gap = event.expected_gap
            self._keeper.look_again(program)

    def _program_ended(self, event: events.ProgramEnded) -> None:
        self._end_program(event.program)

    def _end_program(self, key: ProgramKey) -> None:
        program = self.programs.get(key)
        if program is None:
            return
        program.ending = True
        if not program.calls:
            self._keeper.end(program)

    def _pin_reported(self, event: events.PinReported) -> None:
        program = self.programs.get(event.program)
        gone = event.outcome in (PinOutcome.BROKEN, PinOutcome.EXPIRED, PinOutcome.LOST)
        if program is not None and gone and program.engine == event.engine:
            program.pin_until = 0.0

    # --- procedures -------------------------------------------------------------------------------------------------

    def _procedure_begun(self, event: events.ProcedureBegun) -> None:
        place = self._next_rank(), event.at
        self._procedures.begin(event.at, event.procedure, event.program, event.workflow, event.spec, place)

    def _step_ended(self, event: events.StepEnded) -> None:
        self._procedures.heard(event.at, event.call, event.news)

    def _step_failed(self, event: events.StepFailed) -> None:
        self._procedures.failed(event.at, event.call)

    def _procedure_cancelled(self, event: events.ProcedureCancelled) -> None:
        self._procedures.cancel(event.at, event.procedure)

    def _places(self, model: str) -> int:
        """How many requests the model's engines run side by side."""
        pool = self._books.pool(model)
        return sum(engine.spec.max_num_seqs for engine in pool if engine.status is EngineStatus.UP)

    def _withdraw(self, name: CallId) -> None:
        """Takes back a submitted call, which may wait, run, or not have arrived yet."""
        self._actions.append(Abort(name))
        call = self.calls.get(name)
        if call is not None:
            self._drop(call)

    # --- engines and policies ---------------------------------------------------------------------------------------

    def _prewarmed(self, event: events.Prewarmed) -> None:
        self._mover.moved(event.program, event.engine, done=event.done)

    def _engine_up(self, event: events.EngineUp) -> None:
        former = self.engines.get(event.engine)
        self.learned.stragglers.forget(event.engine)
        self._mover.stay(event.engine)
        if former is not None:
            self._books.empty(former)
        status = EngineStatus.DRAINING if event.held else EngineStatus.UP
        account = Account(event.spec.kv_tokens)
        self._books.set_engine(EngineState(event.engine, event.spec, account, status, returns=event.held))
        for call in self._gate.line:
            call.failed_on = tuple(name for name in call.failed_on if name != event.engine)
        self._books.roomier.add(event.engine)
        self._mover.go_on()

    def _engine_draining(self, event: events.EngineDraining) -> None:
        engine = self.engines.get(event.engine)
        if engine is None or engine.status is EngineStatus.DOWN:
            return
        engine.status = EngineStatus.DRAINING
        engine.returns = event.returns and not event.leaving
        self._books.set_engine(engine)
        self._gate.strand_hopeless()
        if event.leaving:
            self._mover.leave(engine.id)

    def _engine_resumed(self, event: events.EngineResumed) -> None:
        engine = self.engines.get(event.engine)
        if engine is not None and engine.status is EngineStatus.DRAINING:
            engine.status, engine.returns = EngineStatus.UP, False
            self._mover.stay(engine.id)
            self._books.set_engine(engine)
            self._books.roomier.add(engine.id)

    def _engine_down(self, event: events.EngineDown) -> None:
        engine = self.engines.get(event.engine)
        if engine is not None:
            engine.status, engine.returns = EngineStatus.DOWN, False
            self.learned.stragglers.forget(engine.id)
            self._mover.stay(engine.id)
            self._books.empty(engine)
            self._books.set_engine(engine)
            self._gate.strand_hopeless()

    def _engine_observed(self, event: events.EngineObserved) -> None:
        engine = self.engines.get(event.engine)
        if engine is None or engine.status is EngineStatus.DOWN:
            return
        for name, output in event.outputs:
            if name in engine.running:
                engine.running[name].output = output
        seen = later = 0
        for call in engine.running.values():
            if call.dispatched <= event.as_of:
                seen += call.prompt + call.output
            else:
                later += call.reached
        rounding = len(engine.running) * engine.spec.block_size
        foreign = max(0, event.kv_used - seen - later - rounding)
        if foreign < engine.foreign or event.waiting < engine.queued or event.kv_used < engine.kv_used:
            self._books.roomier.add(engine.id)
        engine.scraped = event.as_of
        engine.scraped_running = event.running
        engine.kv_used = event.kv_used
        engine.queued = event.waiting
        engine.drift = seen - event.kv_used
        engine.foreign = foreign

    def _policy_changed(self, event: events.PolicyChanged) -> None:
        self._desk.policies = build(event.policy)
        self.policy = event.policy
        self._gate.reorder()
        self._expect_review()

    def _tenant_changed(self, event: events.TenantChanged) -> None:
        tenant = TenantId(event.tenant)
        self._weights[tenant], self._tiers[tenant] = event.weight, event.tier
        self._gate.reorder()

    def _workflow_declared(self, event: events.WorkflowDeclared) -> None:
        self._plans[event.workflow] = Plan(event.stages)

    def _noted(self, event: Event) -> None:
        """The event matters to the log and to drivers, not to a decision."""

    def _review(self, occasion: Occasion) -> None:
        """Has the admission policy look at all programs, if it is one that does."""
        overseer = self._desk.policies.overseer
        if overseer is not None:
            self._gate.follow(overseer.review(self._view, tuple(self._gate.line), occasion))

    def _expect_review(self) -> None:
        """Sets the alarm for the next tick, if there are ticks and none is expected. Ticks are multiples of the period."""
        overseer = self._desk.policies.overseer
        if overseer is not None and self.programs and self._next_tick <= self._view.now:
            now, period = self._view.now, overseer.period
            tick = (now // period + 1) * period
            self._next_tick = tick if tick > now else tick + period  # quotients are rounded
            self._alarms.set(self._next_tick, Timer.REVIEW, CallId(""))

    def _tick(self) -> None:
        self._review(Occasion.TICK)
        self._expect_review()

    def _ring(self, alarm: Alarm) -> None:
        match alarm.timer, alarm.subject:
            case Timer.REVIEW, _:
                self._tick()
            case Timer.IDLE, ProgramKey() as key:
                self._keeper.silent(key)
            case Timer.MOVE, ProgramKey() as key:
                self._mover.overdue(key)
            case Timer.GAP, ProgramKey() as key:
                self._keeper.gap_too_long(key, alarm.gap)
            case Timer.LOST, name:
                self._gate.lose(CallId(str(name)))
            case Timer.AGED, name:
                self._gate.age(CallId(str(name)))
