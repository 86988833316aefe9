"""What became of one call and why, told from an event log: a replay that looks at the brain around the call's events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler.actions import Action, Dispatch, Prewarm, Reject, Release, Retain, Why
from scheduler.brain import EVICTED_SHARE, Brain
from scheduler.events import (
    CallArrived,
    CallCancelled,
    CallFailed,
    CallFinished,
    CallFirstToken,
    DispatchFailed,
    EngineDown,
    EngineUp,
    Event,
    PinReported,
    ProgramEnded,
)
from scheduler.log import opened
from scheduler.types import CallId, ProgramKey, Seconds, Tokens, Usage

TOLD = {
    Why.DIRECT: "it did not have to wait",
    Why.ADMITTED: "it had waited until its program fitted into the engine's memory",
    Why.AGED: "it had waited as long as a call may wait, and went although its program did not fit",
    Why.MOVED: "waiting for the engine that held its KV would have cost more than computing it anew elsewhere",
    Why.RETRIED: "another engine had not taken it",
}
"""Why a call went when and where it did, in words."""


class UnknownCallError(ValueError):
    """The log has no call of that name. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to the call, `at` seconds after it arrived (before, where negative)."""

    at: Seconds
    text: str


def tell(lines: Iterable[str], call: CallId) -> list[Moment]:
    """The story of a call, until its program's next call has ended, which shows whether its KV was kept.

    Raises:
        LogError: the log is damaged or of another format.
        UnknownCallError: it has no such call.
    """
    brain, events = opened(lines)
    teller: _Teller | None = None
    for _, event, _ in events:
        if teller is None and isinstance(event, CallArrived) and event.call == call:
            teller = _Teller(brain, event)
        if teller is not None:
            teller.before(event)
        decision = brain.handle(event)
        if teller is not None:
            teller.after(event, decision.actions)
            if teller.over:
                break
    if teller is None:
        raise UnknownCallError(
            f"the log has no call {call!r}; the answer's header x-agentserve-call names it, and a log begins anew "
            "when the gateway starts"
        )
    return teller.moments


class _Teller:
    def __init__(self, brain: Brain, arrival: CallArrived) -> None:
        self.moments: list[Moment] = []
        self.over = False
        self._brain = brain
        self._call = arrival.call
        self._program: ProgramKey = arrival.program
        self._start = arrival.at
        self._dispatch: Dispatch | None = None
        self._finished = False
        self._context: Tokens = 0
        """The program's context before the call that is watched."""
        self._next: CallId | None = None
        """The program's next call, once this one has ended."""
        self._went_first: list[CallId] = []
        """Calls that were dispatched while this one waited."""
        self._younger: set[CallId] = set()

    def before(self, event: Event) -> None:
        """Looks at the brain before it takes the event."""
        if isinstance(event, CallArrived):
            if event.call == self._call:
                self._arrives(event)
            elif self._finished and self._next is None and event.program == self._program:
                self._comes_back(event)
            else:
                self._younger.add(event.call)

    def after(self, event: Event, actions: tuple[Action, ...]) -> None:
        """Looks at what was decided."""
        at = event.at
        for action in actions:
            match action:
                case Dispatch(call) if call == self._call:
                    self._goes(at, action, event)
                case Dispatch(call) if not self._finished and self._dispatch is None:
                    self._went_first.append(call)
                case Reject(call, reason, detail) if call == self._call:
                    self._say(at, f"is rejected ({reason.value}): {detail}")
                    self.over = True
                case Retain(program, engine, ttl) if program == self._program and self._finished:
                    self._say(at, f"the program's KV is pinned on {engine} for {ttl:.1f} s from now")
                case Prewarm(program, engine) if program == self._program and self._finished:
                    self._say(at, f"the program moves: its engine leaves, and {engine} computes its context")
                case Release(program, engine) if program == self._program and self._finished:
                    self._say(
                        at, f"the program's pin on {engine} is released: its KV stays only while nobody needs the room"
                    )
        self._note(event)
        if isinstance(event, CallArrived) and event.call == self._call and self._dispatch is None and not self.over:
            self._waits(at)

    def _note(self, event: Event) -> None:
        """Tells what the event itself means for the call."""
        match event:
            case CallFirstToken(at, call) if call == self._call:
                self._say(at, "has its first token")
            case CallFinished(at, call, usage, tools) if call == self._call:
                self._ends(at, usage, tools)
            case CallFinished(at, call, usage) if call == self._next:
                self._say(at, f"the program's next call has ended: {_cached(usage, self._context)}")
                self.over = True
            case CallFailed(at, call, reason) if call == self._call:
                self._say(at, f"fails: {reason.value}")
                self.over = True
            case CallCancelled(at, call) if call == self._call:
                self._say(at, "is cancelled: its client left")
                self.over = True
            case CallFailed(at, call) | CallCancelled(at, call) if call == self._next:
                self._say(at, "the program's next call ended without an answer")
                self.over = True
            case DispatchFailed(at, call, engine, reason) if call == self._call:
                self._say(at, f"{engine} did not take it: {reason.value}")
            case PinReported(at, program, engine, outcome, tokens) if program == self._program and self._finished:
                self._say(at, f"{engine} reports of the program's pin: {outcome.value}, {tokens:,} tokens")
            case ProgramEnded(at, program) if program == self._program:
                self._say(at, "somebody says that the program has ended")
            case EngineDown(at, engine):
                self._say(at, f"engine {engine} goes down, and with it all KV there")
            case EngineUp(at, engine):
                self._say(at, f"engine {engine} comes up")

    # --- the parts of the story -------------------------------------------------------------------------------------

    def _arrives(self, event: CallArrived) -> None:
        program = self._brain.programs.get(event.program)
        size = f"{event.prompt_bytes:,} bytes"
        named = ", ".join(
            filter(None, (event.workflow and f"workflow {event.workflow}", event.stage and f"stage {event.stage}"))
        )
        of = f"program {event.program}" + (f" ({named})" if named else "")
        if program is None:
            self._say(event.at, f"arrives with {size}, the first call of {of}")
            return
        self._context = program.context
        self._say(event.at, f"arrives with {size}, call {program.served + len(program.calls) + 1} of {of}")
        if program.gap_since is not None:
            self._say(
                event.at, f"the program was in a gap of {event.at - program.gap_since:.1f} s; {self._kept(event.at)}"
            )

    def _comes_back(self, event: CallArrived) -> None:
        self._next = event.call
        program = self._brain.programs.get(event.program)
        if program is not None:
            self._context = program.context
        self._say(event.at, f"the program's next call arrives: {event.call}; {self._kept(event.at)}")

    def _kept(self, at: Seconds) -> str:
        """What the brain holds of the program's KV, in its gap."""
        program = self._brain.programs.get(self._program)
        if program is None or program.engine is None:
            return "no engine has its KV"
        if program.pin_until > at:
            return f"its KV ({program.context:,} tokens) is pinned on {program.engine}"
        if program.member:
            return f"its memory ({program.context:,} tokens) is reserved on {program.engine}, without a pin"
        return f"it has made way on {program.engine}: its KV is there only if nobody needed the room"

    def _waits(self, at: Seconds) -> None:
        call = self._brain.calls.get(self._call)
        if call is None:
            return
        pool = [engine for engine in self._brain.engines.values() if call.model in engine.spec.models]
        self._say(
            at,
            f"waits, one of {self._brain.waiting} calls in line: it is expected to hold {call.reached:,} tokens in the end",
        )
        for engine in pool:
            self._say(
                at,
                f"engine {engine.id} ({engine.status.value}) has {len(engine.running)} running calls, {len(engine.members)} "
                f"programs, and {engine.free:,} of {engine.account.capacity:,} KV tokens free, {engine.growth:,} of them "
                "expected to be needed by programs that are there",
            )

    def _goes(self, at: Seconds, dispatch: Dispatch, event: Event) -> None:
        if self._went_first:
            younger = sum(call in self._younger for call in self._went_first)
            self._say(at, f"{len(self._went_first)} other calls went first, {younger} of which had come later")
            self._went_first.clear()
        trigger = (
            "" if isinstance(event, CallArrived) and event.call == self._call else f"; what let it go: {_named(event)}"
        )
        self._dispatch = dispatch
        self._say(
            at,
            f"goes to {dispatch.engine} after {dispatch.waited:.3f} s in line, with priority {dispatch.priority}: "
            f"{TOLD[dispatch.why]}{trigger}",
        )

    def _ends(self, at: Seconds, usage: Usage | None, tools: tuple[str, ...]) -> None:
        self._finished = True
        calls = f"; it calls {', '.join(tools)}" if tools else ""
        self._say(at, f"has its answer: {_cached(usage, self._context)}{calls}")
        program = self._brain.programs.get(self._program)
        if program is None:
            self._say(at, "the program has ended: nothing is kept")
            self.over = True
        else:
            self._context = program.context
            self._say(at, f"in the gap that begins, {self._kept(at)}" + self._until(at, program.pin_until))

    @staticmethod
    def _until(at: Seconds, pin_until: Seconds) -> str:
        return f" for {pin_until - at:.1f} s" if pin_until > at else ""

    def _say(self, at: Seconds, text: str) -> None:
        self.moments.append(Moment(at - self._start, text))


def _cached(usage: Usage | None, context: Tokens) -> str:
    """What the usage says about the KV of `context` tokens that the program had before."""
    if usage is None:
        return "the engine did not report its usage"
    took = f"{usage.prompt:,} prompt tokens and {usage.output:,} output tokens"
    if usage.cached is None:
        return f"{took}; the engine does not report what was cached"
    share = f"{took}; {usage.cached:,} of the prompt ({usage.cached / max(usage.prompt, 1):.0%}) were cached"
    if not context:
        return share
    kept = "was kept" if usage.cached >= EVICTED_SHARE * context else "was lost"
    return f"{share}: of the {context:,} tokens of its context before, KV {kept}"


def _named(event: Event) -> str:
    """The event in short."""
    name = type(event).__name__
    about = getattr(event, "call", None) or getattr(event, "program", None) or getattr(event, "engine", None)
    return f"{name} {about}" if about else name
