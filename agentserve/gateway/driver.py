"""Drives the brain by the wall clock: stamps events, runs the actions they lead to, wakes it when it asks."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from agentserve.config import Faults
from agentserve.engines.base import Engine, PinReport, Pulse
from agentserve.gateway.faults.breaker import Breaker, answers
from agentserve.gateway.faults.retries import Retries
from agentserve.gateway.interrupt import Cause, Interruptible
from agentserve.gateway.metrics import Metrics
from agentserve.gateway.pins import PinLine
from agentserve.workflows import WorkflowSection
from scheduler.actions import Abort, Action, Answer, Dispatch, Prewarm, Reject, Release, Retain, Submit
from scheduler.brain import Brain, Decision
from scheduler.events import (
    CallArrived,
    CallCancelled,
    CallFailed,
    CallFinished,
    CallFirstToken,
    CallProgressed,
    CallSent,
    DispatchFailed,
    EngineDown,
    EngineDraining,
    EngineObserved,
    EngineResumed,
    EngineUp,
    Event,
    FailureReason,
    PinReported,
    Wakeup,
    WorkflowDeclared,
)
from scheduler.types import CallId, EngineId, EngineSpec, ProgramKey, Seconds, TenantId, Tokens, Usage

NO_FAULTS = Faults()
"""The usual."""

logger = logging.getLogger(__name__)

Record = Callable[[Event, Decision], None]
"""Called with every event and what the brain decided, in order."""


class Ticket:
    """A call from its arrival to its end, as the two sides of the gateway share it."""

    def __init__(self, call: CallId, model: str, program: ProgramKey, arrived: Seconds, traceparent: str = "") -> None:
        """`traceparent` is the header of that name that the client sent."""
        self.call = call
        self.model = model
        self.program = program
        self.arrived = arrived
        self.traceparent = traceparent
        self.over = False
        self.dispatch: Dispatch | None = None
        """The latest; None while the call waits."""
        self.output: Tokens = 0
        """Output tokens so far."""
        self.whole = Interruptible()
        self.attempt = Interruptible()
        self._decision = _future()

    async def decision(self) -> Dispatch | Reject:
        """Waits for what the brain decides next."""
        return await self._decision

    def decide(self, decision: Dispatch | Reject) -> None:
        """Takes the brain's decision."""
        if isinstance(decision, Dispatch):
            self.dispatch = decision
        if not self._decision.done():
            self._decision.set_result(decision)

    def wait_again(self) -> None:
        """Back to waiting, after a dispatch that failed."""
        self.dispatch = None
        self.output = 0
        self.attempt = Interruptible()
        self._decision = _future()


DRAIN_POLL: Seconds = 0.1
"""Between two looks at an engine that leaves."""


class Performer(Protocol):
    """Does what a procedure asks for. It may begin tasks, but gives the brain no event while it is asked."""

    def submit(self, action: Submit) -> None:
        """Begins a step."""
        ...

    def abort(self, call: CallId) -> None:
        """Ends a step that may still be under way."""
        ...

    def conclude(self, action: Answer) -> None:
        """Takes what the procedure came to."""
        ...


class Driver:
    """Owns the brain of one gateway. Everything happens in one event loop; nothing here waits."""

    def __init__(
        self,
        brain: Brain,
        metrics: Metrics,
        records: Sequence[Record] = (),
        workflows: Sequence[WorkflowSection] = (),
        faults: Faults = NO_FAULTS,
        clock: Seconds = 0.0,
    ) -> None:
        """`clock` is what `now` says at first."""
        self.brain = brain
        self.take: Callable[[Event], Decision] = brain.handle
        """Whom events are given to: the brain, or who stands for it where gateways share one."""
        self.standing = ""
        """Where the brain is ("here", "there", "none"), where gateways share one; else empty."""
        self.epoch: int | None = int(time.time())
        """Since when pins are this gateway's to order; None if they are not. The latest epoch is obeyed."""
        self.leaving: set[EngineId] = set()
        """Engines that are up and take no calls any more, because they leave."""
        self.prewarm: Callable[[Prewarm], None] | None = None
        """Who has engines compute contexts ahead."""
        self.latest: Callable[[ProgramKey, str, Mapping[str, str], bytes], None] | None = None
        """Who wants to know what each program has sent to an engine last: path, headers and body."""
        self.workflows = {workflow.name: workflow for workflow in workflows}
        """Those that are declared."""
        self.metrics = metrics
        self.engines: dict[EngineId, Engine] = {}
        """Those that are up."""
        self.specs: dict[EngineId, EngineSpec] = {}
        """Of every engine that has ever been up."""
        self.retries = Retries(faults.retries, faults.pause, random.Random())
        self._faults = faults
        self._breakers: dict[EngineId, Breaker] = {}
        self._held: set[EngineId] = set()
        self._records = list(records)
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time() - clock
        self.date = time.time() - clock
        """When the driver's clock began, in seconds since 1970."""
        self._last = clock
        self._tickets: dict[CallId, Ticket] = {}
        self._pins: dict[EngineId, tuple[PinLine, asyncio.Task[None]]] = {}
        self._performers: dict[str, Performer] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: Seconds | None = None
        """When the brain wants to be woken."""
        self._rings_at: Seconds = 0.0
        """When the timer rings, if there is one."""

    def declare(self, workflow: WorkflowSection) -> None:
        """A workflow is declared from now on, in place of an earlier one of its name."""
        self.workflows[workflow.name] = workflow
        self.handle(WorkflowDeclared(self.now(), workflow.name, workflow.planned))

    def due(self, program: ProgramKey, workflow: str, now: Seconds) -> Seconds | None:
        """When a program's calls are due that do not say so: by the time that its declared workflow has."""
        known = self.brain.programs.get(program)
        declared = self.workflows.get(workflow if known is None else known.workflow)
        if declared is None or declared.slo is None:
            return None
        return (now if known is None else known.arrived) + declared.slo

    # --- time and the brain -----------------------------------------------------------------------------------------

    def now(self) -> Seconds:
        """Seconds since the driver started; never runs backwards."""
        self._last = max(self._last, self._loop.time() - self._start)
        return self._last

    def handle(self, event: Event) -> None:
        """Gives the brain an event and does what it decides. `event.at` is `now()`."""
        self._carry_out(event, self.take(event))

    def obey(self, decision: Decision) -> None:
        """Does what was not decided on one of our own events just now. What has been overtaken is left out."""
        actions = tuple(action for action in decision.actions if self._applies(action))
        self._carry_out(Wakeup(self.now()), Decision(actions, decision.next_wakeup))

    def advance(self, at: Seconds) -> None:
        """It is not earlier than that."""
        self._last = max(self._last, at)

    def _applies(self, action: Action) -> bool:
        match action:
            case Dispatch(call) | Reject(call):
                return call in self._tickets and self._tickets[call].dispatch is None
            case Abort(call):
                return call in self._tickets
        return True

    def _carry_out(self, event: Event, decision: Decision) -> None:
        for record in self._records:
            record(event, decision)
        for action in decision.actions:
            self._act(action)
        self._set_alarm(decision.next_wakeup)

    def _act(self, action: Action) -> None:
        match action:
            case Dispatch() | Reject():
                self._decide(action)
            case Retain(program, engine, ttl):
                self._order(engine, program, ttl)
            case Release(program, engine):
                self._order(engine, program, 0.0)
            case Prewarm() if self.prewarm is not None:
                self.prewarm(action)
            case Abort(call):
                performer = self._performers.get(call.partition("/")[0])
                if performer is not None:
                    performer.abort(call)
                elif call in self._tickets:
                    self._tickets[call].whole.end(Cause.ABORTED)
            case Submit(procedure):
                self._performers[procedure].submit(action)
            case Answer(procedure):
                self._performers[procedure].conclude(action)

    def watch(self, record: Record) -> None:
        """Tells one more of every event from now on, after those that are told already."""
        self._records.append(record)

    def unwatch(self, record: Record) -> None:
        """Tells that one nothing more."""
        self._records.remove(record)

    def perform(self, procedure: str, performer: Performer) -> None:
        """Says who does what a procedure is going to ask for."""
        self._performers[procedure] = performer

    def performed(self, procedure: str) -> None:
        """The procedure asks for nothing more."""
        del self._performers[procedure]

    def _decide(self, decision: Dispatch | Reject) -> None:
        ticket = self._tickets[decision.call]
        if isinstance(decision, Reject):
            self._forget(ticket, "rejected")
        else:
            self.metrics.queue_seconds.labels(ticket.model).observe(decision.waited)
        ticket.decide(decision)

    def _order(self, engine: EngineId, program: ProgramKey, ttl: Seconds) -> None:
        if engine in self._pins:
            self._pins[engine][0].order(program, ttl)

    def _set_alarm(self, at: Seconds | None) -> None:
        """The brain wants to be woken then. A timer that rings before is left: `_wake` sets it anew."""
        self._alarm_at = at
        if at is None or (self._alarm is not None and self._rings_at <= at):
            return
        self._cancel_alarm()
        self._rings_at = at
        self._alarm = self._loop.call_at(self._start + at, self._wake)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _wake(self) -> None:
        self._alarm = None
        at = self._alarm_at
        if at is not None and at > self.now():
            self._set_alarm(at)
        elif at is not None:
            self._alarm_at = None
            self.handle(Wakeup(self.now()))

    # --- calls ------------------------------------------------------------------------------------------------------

    def arrive(self, event: CallArrived, traceparent: str = "") -> Ticket:
        """Takes a new call in. Its decision may be there at once."""
        self.retries.call()
        ticket = Ticket(event.call, event.model, event.program, event.at, traceparent)
        self._tickets[ticket.call] = ticket
        self.handle(event)
        return ticket

    def parent_of(self, call: CallId) -> str:
        """The `traceparent` that came with a call that is not over; "" if none did."""
        ticket = self._tickets.get(call)
        return ticket.traceparent if ticket is not None else ""

    def sent(self, ticket: Ticket) -> None:
        """The call leaves for its engine."""
        self.handle(CallSent(self.now(), ticket.call))

    def first_token(self, ticket: Ticket) -> None:
        """The engine's first output token is there."""
        now = self.now()
        self.metrics.ttft_seconds.labels(ticket.model).observe(now - ticket.arrived)
        self.handle(CallFirstToken(now, ticket.call))

    def progressed(self, ticket: Ticket) -> None:
        """The call has more output than the brain expects."""
        self.handle(CallProgressed(self.now(), ticket.call, ticket.output))

    def dispatch_failed(self, ticket: Ticket, engine: EngineId, reason: FailureReason) -> None:
        """The engine did not take the call; the next decision follows."""
        self.metrics.dispatch_failures.labels(engine, reason.value).inc()
        self.tell_breaker(engine, reason)
        ticket.wait_again()
        self.handle(DispatchFailed(self.now(), ticket.call, engine, reason))

    def finished(self, ticket: Ticket, usage: Usage | None, tools: tuple[str, ...]) -> None:
        """The call's last token is there."""
        if ticket.over:
            return
        self._forget(ticket, "finished")
        self.tell_breaker(self._engine_of(ticket), None)
        if usage is not None:
            self.metrics.count_tokens(ticket.model, usage)
        if ticket.dispatch is not None:
            self.watch_pin(ticket.dispatch.engine, ticket.dispatch.ttl)
        self.handle(CallFinished(self.now(), ticket.call, usage, tools))

    def failed(self, ticket: Ticket, reason: FailureReason) -> None:
        """The call ends without its answer."""
        if ticket.over:
            return
        self._forget(ticket, reason.value)
        self.tell_breaker(self._engine_of(ticket), reason)
        self.handle(CallFailed(self.now(), ticket.call, reason))

    def cancelled(self, ticket: Ticket, status: str = "cancelled") -> None:
        """The call is not wanted any more. Does nothing if it has ended."""
        if ticket.over:
            return
        self._forget(ticket, status)
        self.handle(CallCancelled(self.now(), ticket.call))

    def _forget(self, ticket: Ticket, status: str) -> None:
        ticket.over = True
        del self._tickets[ticket.call]
        self.metrics.calls.labels(ticket.model, status).inc()

    @staticmethod
    def _engine_of(ticket: Ticket) -> EngineId | None:
        return None if ticket.dispatch is None else ticket.dispatch.engine

    def tell_breaker(self, engine: EngineId | None, failure: FailureReason | None) -> None:
        """What became of a request to an engine: a refusal is an answer too, and a slow reader tells nothing of it."""
        breaker = self._breakers.get(engine) if engine is not None else None
        if breaker is None or failure is FailureReason.STALLED:
            return
        if failure in (None, FailureReason.REFUSED):
            breaker.succeeded()
        else:
            breaker.failed()

    def answering(self, engines: Iterable[EngineId]) -> list[Engine]:
        """Those of them that are up and not shut off by their breakers."""
        return [self.engines[name] for name in engines if name in self.engines and not self._breakers[name].open]

    def watch_pin(self, engine: EngineId, ttl: Seconds) -> None:
        """A pin of `ttl` seconds came with a call that has finished there."""
        if ttl > 0 and engine in self._pins and self.epoch is not None:
            self._pins[engine][0].watch(ttl)

    # --- engines ----------------------------------------------------------------------------------------------------

    def engine_up(self, engine: Engine, spec: EngineSpec) -> None:
        """An engine is healthy, and empty."""
        self.engines[engine.name] = engine
        self.specs[engine.name] = spec
        if spec.retention:
            line = PinLine(engine, lambda report: self._pin_reported(engine.name, report), lambda: self.epoch)
            self._pins[engine.name] = line, self._loop.create_task(line.run())
        self._breakers[engine.name] = Breaker(
            self._faults.failures,
            lambda: answers(engine, spec.models[0]),
            lambda opens: self._switch(engine.name, opens=opens),
        )
        logger.info("engine %s is up: %s", engine.name, describe(spec))
        self.handle(EngineUp(self.now(), engine.name, spec, held=engine.name in self._held))

    def engine_down(self, engine: Engine, reason: str) -> None:
        """An engine is gone, `reason` says why; the calls it was running are ended or go elsewhere."""
        self.engines.pop(engine.name, None)
        if engine.name in self._breakers:
            self._breakers.pop(engine.name).end()
        if engine.name in self._pins:
            self._pins.pop(engine.name)[1].cancel()
        self._held.discard(engine.name)
        self.handle(EngineDown(self.now(), engine.name))
        self.lose(engine.name)

    def hold(self, engine: EngineId) -> None:
        """Gives an engine no more calls until `release` or `renew`; those that only it can take wait.

        It may be one that has not come up yet.
        """
        self._held.add(engine)
        if engine in self.engines:
            self.handle(EngineDraining(self.now(), engine, returns=True))

    def release(self, engine: EngineId) -> None:
        """The engine takes calls again, with the KV that it had."""
        if engine in self._held:
            self._held.remove(engine)
            self.handle(EngineResumed(self.now(), engine))

    def renew(self, engine: EngineId, *, held: bool = False) -> None:
        """The engine has no KV any more, and takes calls again unless it is `held` still."""
        if not held:
            self._held.discard(engine)
        if engine in self.engines:
            self.handle(EngineUp(self.now(), engine, self.specs[engine], held=held))

    def lose(self, engine: EngineId) -> None:
        """Takes the calls that an engine runs from it: they go elsewhere, or fail if they have begun to answer."""
        for ticket in list(self._tickets.values()):
            if ticket.dispatch is not None and ticket.dispatch.engine == engine:
                ticket.attempt.end(Cause.LOST)

    def abort(self, engine: EngineId) -> None:
        """Ends the calls that an engine runs."""
        for ticket in list(self._tickets.values()):
            if ticket.dispatch is not None and ticket.dispatch.engine == engine:
                ticket.whole.end(Cause.ABORTED)

    async def drain(self, engine: Engine, limit: Seconds) -> None:
        """The engine leaves: it gets no more calls. Returns when its calls have ended and its programs have moved, or at the limit."""
        self.leaving.add(engine.name)
        if engine.name not in self.engines:
            return
        self.handle(EngineDraining(self.now(), engine.name, leaving=True))
        until = self.now() + limit
        while self.now() < until and engine.name in self.engines and self._is_busy(engine.name):  # noqa: ASYNC110 - looking at every event costs more
            await asyncio.sleep(DRAIN_POLL)

    def _is_busy(self, engine: EngineId) -> bool:
        ours = (ticket.dispatch for ticket in self._tickets.values())
        return self.brain.empties(engine) or any(each is not None and each.engine == engine for each in ours)

    def _switch(self, engine: EngineId, *, opens: bool) -> None:
        """The engine's breaker opens or closes; of an engine that is held it decides nothing."""
        if engine in self._held:
            return
        if opens:
            logger.warning("engine %s answers nobody: it gets no calls until it does", engine)
            self.handle(EngineDraining(self.now(), engine))
        elif engine not in self.leaving:
            logger.info("engine %s answers again", engine)
            self.handle(EngineResumed(self.now(), engine))

    def engine_observed(self, engine: Engine, as_of: Seconds, pulse: Pulse) -> None:
        """A scrape that began at `as_of` by the loop's clock."""
        at = self.now()
        begun = min(at, max(0.0, as_of - self._start))
        outputs = tuple(
            (ticket.call, ticket.output)
            for ticket in self._tickets.values()
            if ticket.output and ticket.dispatch is not None and ticket.dispatch.engine == engine.name
        )
        self.handle(EngineObserved(at, engine.name, begun, pulse.running, pulse.waiting, pulse.kv_used, outputs))

    def _pin_reported(self, engine: EngineId, report: PinReport) -> None:
        self.metrics.pins.labels(engine, report.outcome.value).inc()
        tenant, _, program = report.program.partition("/")
        key = ProgramKey(TenantId(tenant), program)
        self.handle(PinReported(self.now(), key, engine, report.outcome, report.tokens))

    def close(self) -> None:
        """Ends the alarm and the pin lines. Call it when no call is left."""
        self._cancel_alarm()
        for breaker in self._breakers.values():
            breaker.end()
        for _, task in self._pins.values():
            task.cancel()
        self._pins.clear()


def describe(spec: EngineSpec) -> str:
    """One line for people: what an engine holds, and what it cannot do."""
    lacks = ["priorities"] * (not spec.priority) + ["pins"] * (not spec.retention)
    without = f", without {' and '.join(lacks)}" if lacks else ""
    models = ", ".join(spec.models)
    return f"{models}, {spec.kv_tokens:,} KV tokens, context {spec.max_model_len:,}{without}"


def _future() -> asyncio.Future[Dispatch | Reject]:
    return asyncio.get_running_loop().create_future()
