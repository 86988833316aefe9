"""A small world for the brain: a driver that keeps the rules a real one keeps, without engines behind it."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.actions import Abort, Action, Dispatch, Reject
from scheduler.brain import Brain, Decision
from scheduler.events import (
    CallAnnounced,
    CallArrived,
    CallCancelled,
    CallFailed,
    CallFinished,
    CallFirstToken,
    CallSent,
    DispatchFailed,
    EngineDown,
    EngineUp,
    Event,
    FailureReason,
    ProgramEnded,
    Wakeup,
)
from scheduler.log import event_line, snapshot_line
from scheduler.policy import Choice, PolicyConfig
from scheduler.types import DEFAULT_TENANT, CallId, EngineId, EngineSpec, PrefixMark, ProgramKey, TenantId, Usage

MODEL = "m"
STEADY = PolicyConfig(
    "steady", order=Choice("program_fcfs"), placement=Choice("sticky"), retention=Choice("fixed_ttl", (("ttl", 30.0),))
)
"""Working-set admission, with parts around it that learn nothing: what a test expects does not depend on its past."""


def spec(kv_tokens: int = 8192, *, retention: bool = True, models: tuple[str, ...] = (MODEL,)) -> EngineSpec:
    return EngineSpec(models, kv_tokens, 32, 4096, retention=retention, priority=True)


def key(name: str) -> ProgramKey:
    return ProgramKey(DEFAULT_TENANT, name)


def marks(program: str, turns: int, size: int) -> tuple[PrefixMark, ...]:
    """The marks of a prompt of `turns` messages of equal size; a program's prompts extend each other."""
    seed = sum(ord(letter) * 31**index for index, letter in enumerate(program))
    step = max(size // turns, 1)
    return tuple(PrefixMark(seed * 1000 + turn, step * turn) for turn in range(1, turns + 1))


@dataclass
class World:
    """Feeds a brain and remembers what it did. Every event goes through `feed`, which also checks integrity."""

    policy: PolicyConfig = STEADY
    engines: dict[str, EngineSpec] = field(default_factory=lambda: {"a": spec()})

    def __post_init__(self) -> None:
        self.now = 0.0
        self.brain = Brain(self.policy)
        self.log = [snapshot_line(self.brain)]
        self.actions: list[Action] = []
        self.running: dict[CallId, EngineId] = {}
        self.waiting: set[CallId] = set()
        self.rejected: dict[CallId, Reject] = {}
        self.dispatches: list[Dispatch] = []
        self.next_wakeup: float | None = None
        self._count = 0
        self.arrivals: dict[CallId, CallArrived] = {}
        for name, engine in self.engines.items():
            self.feed(EngineUp(self.now, EngineId(name), engine))

    def feed(self, event: Event) -> tuple[Action, ...]:
        decision: Decision = self.brain.handle(event)
        self.brain.check_integrity()
        self.log.append(event_line(event, decision.actions))
        self.next_wakeup = decision.next_wakeup
        self.actions.extend(decision.actions)
        for action in decision.actions:
            self._obey(action)
        return decision.actions

    def _obey(self, action: Action) -> None:
        match action:
            case Dispatch(call=call, engine=engine):
                assert call in self.waiting, f"{call} was dispatched though it does not wait"
                self.waiting.remove(call)
                self.running[call] = engine
                self.dispatches.append(action)
            case Reject(call=call):
                assert call in self.waiting, f"{call} was rejected though it does not wait"
                self.waiting.remove(call)
                self.rejected[call] = action
            case Abort(call=call):
                assert call in self.running, f"{call} was aborted though it does not run"

    def later(self, seconds: float) -> None:
        """Lets time pass, with the wakeups the brain asked for on the way."""
        until = self.now + seconds
        while self.next_wakeup is not None and self.next_wakeup <= until:
            self.now = max(self.now, self.next_wakeup)
            self.feed(Wakeup(self.now))
        self.now = until

    def call(
        self,
        program: str,
        *,
        tokens: int = 500,
        turns: int = 1,
        output: int = 50,
        final: bool = False,
        streams: bool = True,
        workflow: str = "",
        stops: bool = False,
        priority: int = 0,
    ) -> CallId:
        """A call arrives; says its id."""
        arrival = self.arrival(program, tokens, turns, output, final, streams, workflow, stops, priority)
        self.waiting.add(arrival.call)
        self.feed(arrival)
        return arrival.call

    def arrival(
        self,
        program: str,
        tokens: int = 500,
        turns: int = 1,
        output: int = 50,
        final: bool = False,
        streams: bool = True,
        workflow: str = "",
        stops: bool = False,
        priority: int = 0,
    ) -> CallArrived:
        """A call that comes now; the brain has not been told."""
        self._count += 1
        name = CallId(f"{program}#{self._count}")
        size = tokens * 4
        self.arrivals[name] = CallArrived(
            self.now,
            name,
            key(program),
            MODEL,
            size,
            marks(program, turns, size),
            prompt_tokens=tokens,
            expected_output=output,
            final=final,
            streams=streams,
            workflow=workflow,
            stops=stops,
            priority=priority,
        )
        return self.arrivals[name]

    def announce(self, call: CallId, engine: str | None, *, started: bool = False, output: int = 0) -> None:
        """The driver says how a call of its own is."""
        self.running.pop(call, None)
        self.waiting.discard(call)
        if engine is None:
            self.waiting.add(call)
        else:
            self.running[call] = EngineId(engine)
        place = None if engine is None else EngineId(engine)
        self.feed(CallAnnounced(self.now, self.arrivals[call], place, self.now, started, output))

    def finish(self, call: CallId, *, prompt: int = 500, output: int = 50, cached: int = 0, tool: str = "bash") -> None:
        for event in (CallSent(self.now, call), CallFirstToken(self.now, call)):
            self.feed(event)
        self.running.pop(call)
        self.feed(CallFinished(self.now, call, Usage(prompt, output, cached), (tool,)))

    def refuse(self, call: CallId) -> None:
        engine = self.running.pop(call)
        self.waiting.add(call)
        self.feed(DispatchFailed(self.now, call, engine, FailureReason.REFUSED))

    def fail(self, call: CallId) -> None:
        self.running.pop(call)
        self.feed(CallFailed(self.now, call, FailureReason.ENGINE_ERROR))

    def cancel(self, call: CallId) -> None:
        self.feed(CallCancelled(self.now, call))
        self.waiting.discard(call)
        self.running.pop(call, None)

    def end(self, program: str, tenant: str = DEFAULT_TENANT) -> None:
        self.feed(ProgramEnded(self.now, ProgramKey(TenantId(tenant), program)))

    def down(self, engine: str) -> None:
        """The engine dies; the driver reports each of its calls."""
        name = EngineId(engine)
        self.feed(EngineDown(self.now, name))
        for call in [call for call, place in self.running.items() if place == name]:
            self.refuse(call)

    def up(self, engine: str) -> None:
        self.feed(EngineUp(self.now, EngineId(engine), self.engines[engine]))

    def occupied(self, engine: str = "a") -> int:
        return self.brain.engines[EngineId(engine)].account.occupied
