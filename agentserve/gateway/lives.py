"""The life of every call, put together from the driver's events for those who watch calls and not events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler.actions import Dispatch, Reject
from scheduler.brain import Decision
from scheduler.events import (
    CallArrived,
    CallCancelled,
    CallFailed,
    CallFinished,
    CallFirstToken,
    CallProgressed,
    CallSent,
    DispatchFailed,
    EngineObserved,
    Event,
    ProgramEnded,
)
from scheduler.types import CallId, ProgramKey, Seconds, Tokens, Usage
from workloads.traces.recording import CallStatus


@dataclass(slots=True)
class Life:
    """A call from its arrival on; times are the driver's. What has not happened (yet) is None."""

    arrival: CallArrived
    dispatch: Dispatch | None = None
    """The latest; None while it waits."""
    dispatched: Seconds | None = None
    sent: Seconds | None = None
    first_token: Seconds | None = None
    queued: Seconds = 0.0
    """Time in line so far, that before another attempt included."""
    on_engines: Seconds = 0.0
    """Time on engines so far, from each dispatch to its end."""
    attempts: int = 0
    """Dispatches so far."""
    output: Tokens = 0
    """That is known of so far."""
    ended: Seconds = math.inf
    status: CallStatus = CallStatus.FINISHED
    """How it ended, once it has."""
    reason: str = ""
    """Why it failed or was rejected."""
    usage: Usage | None = None
    tools: tuple[str, ...] = ()
    _since: Seconds = 0.0

    def enter(self, at: Seconds, dispatch: Dispatch) -> None:
        """It goes to an engine."""
        self.queued += at - (self.arrival.at if self.attempts == 0 else self._since)
        self.attempts += 1
        self.dispatch, self.dispatched = dispatch, at

    def leave(self, at: Seconds) -> None:
        """It is on no engine any more."""
        if self.dispatched is None:
            self.queued += at - (self.arrival.at if self.attempts == 0 else self._since)
        else:
            self.on_engines += at - self.dispatched
        self._since = at

    def wait_again(self, at: Seconds) -> None:
        """The engine did not take it."""
        self.leave(at)
        self.dispatch = self.dispatched = self.sent = self.first_token = None


class Watcher:
    """Is told of calls. Each method may be overridden, and must not raise."""

    def call_arrived(self, life: Life) -> None:
        """A call is there; it may have been dispatched at once."""

    def call_waits(self, life: Life, at: Seconds) -> None:
        """An engine did not take a call, which waits again."""

    def call_dispatched(self, life: Life, at: Seconds) -> None:
        """A call goes to an engine."""

    def call_answers(self, life: Life, at: Seconds) -> None:
        """The first token of a streamed call is there."""

    def call_ended(self, life: Life) -> None:
        """A call is over; `ended` and `status` are set."""

    def program_ended(self, program: ProgramKey, at: Seconds) -> None:
        """Somebody has said that no more calls come from this program."""


class Lives:
    """Follows the calls of one driver, from its first event. `record` is one of the driver's records."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = list(watchers)
        self._calls: dict[CallId, Life] = {}

    @property
    def calls(self) -> Mapping[CallId, Life]:
        """Those that are under way."""
        return self._calls

    def watch(self, watcher: Watcher) -> None:
        """Tells one more from now on, of calls too whose arrival it has not seen."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Tells that one nothing more."""
        self._watchers.remove(watcher)

    def record(self, event: Event, decision: Decision) -> None:
        """Takes an event and what was decided."""
        match event:
            case CallArrived():
                self._arrive(event)
            case CallSent():
                self._calls[event.call].sent = event.at
            case CallFirstToken():
                life = self._calls[event.call]
                life.first_token = event.at
                for watcher in self._watchers:
                    watcher.call_answers(life, event.at)
            case DispatchFailed():
                life = self._calls[event.call]
                life.wait_again(event.at)
                for watcher in self._watchers:
                    watcher.call_waits(life, event.at)
            case CallProgressed():
                self._calls[event.call].output = event.output
            case EngineObserved():
                for call, output in event.outputs:
                    self._calls[call].output = output
            case CallFinished():
                life = self._calls[event.call]
                life.usage, life.tools = event.usage, event.tools
                self._end(event.at, event.call, CallStatus.FINISHED)
            case CallFailed():
                self._end(event.at, event.call, CallStatus.FAILED, event.reason.value)
            case CallCancelled():
                self._end(event.at, event.call, CallStatus.CANCELLED)
            case ProgramEnded():
                for watcher in self._watchers:
                    watcher.program_ended(event.program, event.at)
        for action in decision.actions:
            match action:
                case Dispatch():
                    life = self._calls[action.call]
                    life.enter(event.at, action)
                    for watcher in self._watchers:
                        watcher.call_dispatched(life, event.at)
                case Reject():
                    self._end(event.at, action.call, CallStatus.REJECTED, action.reason.value)

    def _arrive(self, event: CallArrived) -> None:
        life = self._calls[event.call] = Life(event)
        for watcher in self._watchers:
            watcher.call_arrived(life)

    def _end(self, at: Seconds, call: CallId, status: CallStatus, reason: str = "") -> None:
        life = self._calls.pop(call)
        life.leave(at)
        life.ended, life.status, life.reason = at, status, reason
        for watcher in self._watchers:
            watcher.call_ended(life)
