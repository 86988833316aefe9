"""The gateway in virtual time: gives the brain the events that the real one would, and does what it decides.

The counterpart of `agentserve/gateway/driver.py`. News of pins and gauges travels without delay; requests and answers
take their program's time to the engine and back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from time import perf_counter
from typing import Protocol, TypeAlias

from scheduler.actions import Abort, Action, Answer, Dispatch, Reject, RejectReason, Release, Retain, Submit
from scheduler.brain import Decision
from scheduler.events import (
    CallArrived,
    CallFinished,
    CallFirstToken,
    CallProgressed,
    CallSent,
    EngineObserved,
    EngineUp,
    Event,
    HintGiven,
    PinReported,
    Wakeup,
)
from scheduler.types import CallId, EngineId, ProgramKey, Seconds, TenantId, Usage
from simulator.clock import Clock, Turn
from simulator.engine import RequestError
from simulator.fleet import EngineModel
from simulator.live import LiveCall, LiveProgram
from simulator.request import Output, Request
from simulator.retention import Report
from simulator.station import Ears, Pulse, Station
from workloads.program import Call

STALLED: Seconds = 86_400.0
"""After a day of nothing but the brain's own alarms, nothing will ever happen."""


class SimulationError(Exception):
    """A simulation that cannot go on. The message says which calls it is about."""


class Mind(Protocol):
    """What decides: a `Brain`, or what stands in for one."""

    def handle(self, event: Event) -> Decision:
        """Takes one event."""
        ...


Tools: TypeAlias = Callable[[LiveProgram, Call], tuple[str, ...]]
Gap: TypeAlias = Callable[[LiveProgram, Call], Seconds | None]
Answered: TypeAlias = Callable[[LiveCall], None]
Perform: TypeAlias = Callable[[Submit | Answer], None]
Record: TypeAlias = Callable[[Event, Decision], None]


class Gateway:
    """Owns the brain and the engines of one simulation."""

    def __init__(self, mind: Mind, fleet: Iterable[EngineModel], clock: Clock, model: str | None) -> None:
        """All engines serve `model`, or each its own if it is None."""
        self.events = 0
        self.seconds = 0.0
        """Real time that the brain took."""
        self.live: dict[CallId, LiveCall] = {}
        self._mind = mind
        self._clock = clock
        self._model = model
        self._listeners: list[Record] = []
        self._inbox: deque[Event] = deque()
        self._wakeup: Seconds | None = None
        self._alarm: Seconds | None = None
        """The earliest alarm on the clock."""
        self._alive: Seconds = 0.0
        """When something other than an alarm happened last."""
        self._answered: Answered = _nobody
        self._refused: Answered = _nobody
        self._aborted: Answered = _wanted
        self._perform: Perform = _no_procedure
        self._tools: Tools = _none
        self._gap: Gap | None = None
        ears = Ears(self._outputs, self._reports, self._pulse)
        self.stations: Mapping[EngineId, Station] = {
            EngineId(engine.name): Station(engine, clock, ears) for engine in fleet
        }
        for station in self.stations.values():
            self.tell(EngineUp(0.0, station.id, station.spec(model or station.model.model)))

    def serve(self, answered: Answered, tools: Tools, gap: Gap | None = None, refused: Answered | None = None) -> None:
        """Says who gets the answers, and which tools they ask for; with `gap`, the brain is told what is to come.

        `refused` hears of calls that are too late to be served.
        """
        self._answered = answered
        self._refused = refused or _nobody
        self._tools = tools
        self._gap = gap

    def perform(self, perform: Perform, aborted: Answered) -> None:
        """Says who does what procedures ask for, and hears of their calls that were aborted."""
        self._perform = perform
        self._aborted = aborted

    def listen(self, listener: Record) -> None:
        """Calls it with every event from now on, and what the brain decided."""
        self._listeners.append(listener)

    @property
    def held(self) -> int:
        """Calls that stand in the brain's line."""
        return sum(not call.engine for call in self.live.values())

    def waiting(self) -> Iterator[str]:
        """The calls that have no answer, and where they are."""
        for call in self.live.values():
            yield f"{call.id} is on engine {call.engine}" if call.engine else f"{call.id} waits to be dispatched"

    def arrive(self, call: LiveCall) -> None:
        """A request has reached the gateway."""
        program = call.program
        self.live[call.id] = call
        self.tell(
            CallArrived(
                at=self._clock.now,
                call=call.id,
                program=program.key,
                model=call.model or self._model or "",
                prompt_bytes=int(call.prompt.size),
                prefix=call.prompt.marks,
                max_output=call.max_output,
                expected_output=None if self._gap is None else call.call.output_tokens,
                deadline=call.deadline,
                parent=program.parent,
                workflow=program.program.workflow,
                stage=call.call.stage,
                final=call.final,
            )
        )
        if self._gap is not None:
            self.tell(HintGiven(self._clock.now, program.key, remaining_calls=program.unanswered))

    # --- the brain --------------------------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Gives the brain an event, and those that its decisions lead to at once."""
        self._alive = self._clock.now
        self._inbox.append(event)
        if len(self._inbox) > 1:
            return
        while self._inbox:
            self._handle(self._inbox[0])
            self._inbox.popleft()

    def _handle(self, event: Event) -> None:
        started = perf_counter()
        decision = self._mind.handle(event)
        self.seconds += perf_counter() - started
        self.events += 1
        for listener in self._listeners:
            listener(event, decision)
        for action in decision.actions:
            self._act(action)
        self._wakeup = decision.next_wakeup
        if self._wakeup is not None and (self._alarm is None or self._wakeup < self._alarm):
            self._set_alarm(self._wakeup)

    def _act(self, action: Action) -> None:
        match action:
            case Dispatch():
                self._dispatch(action)
            case Retain(program, engine, ttl):
                self._order(program, engine, ttl)
            case Release(program, engine):
                self._order(program, engine, 0.0)
            case Reject(name, RejectReason.TOO_LATE):
                self._refused(self.live.pop(name))
            case Reject(name, reason, detail):
                raise SimulationError(f"call {name} was rejected ({reason.value}): {detail}")
            case Abort(name):
                self._abort(name)
            case Submit() | Answer():
                self._perform(action)

    def _abort(self, name: CallId) -> None:
        """Stops a call wherever it is; its arrival may still be in the inbox."""
        for event in list(self._inbox):
            if isinstance(event, CallArrived) and event.call == name:
                self._inbox.remove(event)
        call = self.live.pop(name, None)
        if call is None:
            return
        if call.engine:
            station = self.stations[EngineId(call.engine)]
            call.produced = station.engine.progress(self._clock.now).get(name, call.produced)
            station.abort(name)
        self._aborted(call)

    def _set_alarm(self, when: Seconds) -> None:
        self._alarm = when
        self._clock.at(when, partial(self._ring, when), Turn.ALARM)

    def _ring(self, when: Seconds) -> None:
        """Wakes the brain, unless it has asked to be woken later since."""
        if when != self._alarm:
            return
        self._alarm = None
        if self._wakeup is None:
            return
        if self._wakeup > self._clock.now:
            self._set_alarm(self._wakeup)
            return
        alive = self._alive
        if self._clock.empty and self._clock.now - alive > STALLED:
            raise SimulationError(f"nothing happens any more: {'; '.join(self.waiting())}")
        self.tell(Wakeup(self._clock.now))
        self._alive = alive

    # --- to the engines ---------------------------------------------------------------------------------------------

    def _dispatch(self, action: Dispatch) -> None:
        call, station = self.live[action.call], self.stations[action.engine]
        call.engine, call.dispatched, call.ttl = action.engine, self._clock.now, action.ttl
        call.expected = action.expected
        request = Request(
            id=call.id,
            prompt_tokens=call.prompt.tokens,
            output_tokens=call.call.output_tokens,
            content=call.content,
            priority=action.priority,
            program=str(call.program.key) if station.model.plugin else "",
            rank=action.rank,
            ttl=action.ttl,
            quiet=action.expected,
        )
        self._inbox.append(CallSent(self._clock.now, call.id))
        self._after(call.program.legs.engine + station.model.request_overhead, partial(self._submit, station, request))

    def _submit(self, station: Station, request: Request) -> None:
        if CallId(request.id) not in self.live:
            return  # it was aborted on its way
        try:
            station.submit(request)
        except RequestError as error:
            raise SimulationError(f"engine {station.id} does not take it: {error}") from None

    def _order(self, program: ProgramKey, engine: EngineId, ttl: Seconds) -> None:
        self.stations[engine].order(program, ttl)

    def _after(self, delay: Seconds, do: Callable[[], None]) -> None:
        """Does it now if there is no delay."""
        if delay:
            self._clock.at(self._clock.now + delay, do)
        else:
            do()

    # --- from the engines -------------------------------------------------------------------------------------------

    def _outputs(self, station: Station, outputs: tuple[Output, ...]) -> None:
        for output in outputs:
            call = self.live.get(CallId(output.request))
            if call is None:
                continue  # it was aborted in the same step
            call.produced, call.cached = output.produced, output.cached
            if output.produced > call.expected:
                call.expected = 2 * output.produced
                station.engine.hush(output.request, call.expected)
            self._after(call.program.legs.engine, partial(self._hear, call, output))

    def _hear(self, call: LiveCall, output: Output) -> None:
        """A piece of an answer that the brain has to know of has reached the gateway."""
        now = self._clock.now
        if call.id not in self.live:
            return  # it was aborted while this travelled
        if not call.first_token:
            call.first_token = now
            self.tell(CallFirstToken(now, call.id))
        elif not output.finished:
            self.tell(CallProgressed(now, call.id, output.produced))
        if output.finished and call.id in self.live:
            self._finish(call)

    def _finish(self, call: LiveCall) -> None:
        del self.live[call.id]
        if call.ttl > 0:
            self.stations[EngineId(call.engine)].watch(call.ttl)
        usage = Usage(call.prompt.tokens, call.call.output_tokens, call.cached)
        self.tell(CallFinished(self._clock.now, call.id, usage, self._tools(call.program, call.call)))
        gap = None if self._gap is None else self._gap(call.program, call.call)
        if gap is not None:
            self.tell(HintGiven(self._clock.now, call.program.key, expected_gap=gap))
        self._answered(call)

    def _reports(self, station: Station, reports: list[Report]) -> None:
        for owner, outcome, tokens in reports:
            tenant, _, program = owner.partition("/")
            key = ProgramKey(TenantId(tenant), program)
            self.tell(PinReported(self._clock.now, key, station.id, outcome, tokens))

    def _pulse(self, station: Station, pulse: Pulse) -> None:
        now = self._clock.now
        self.tell(EngineObserved(now, station.id, now, pulse.running, pulse.waiting, pulse.kv_used, pulse.outputs))


def _nobody(call: LiveCall) -> None:
    raise SimulationError(f"nobody waits for the answer to {call.id}")


def _wanted(call: LiveCall) -> None:
    raise SimulationError(f"call {call.id} was aborted, which no policy should do to a call that is wanted")


def _no_procedure(action: Submit | Answer) -> None:
    raise SimulationError(f"nobody performs procedure {action.procedure}")


def _none(program: LiveProgram, call: Call) -> tuple[str, ...]:
    return ()
