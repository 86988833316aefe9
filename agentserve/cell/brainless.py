"""What a gateway does while there is no brain to ask: it sends each call on at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from scheduler.actions import Action, Dispatch, Reject, RejectReason, Why
from scheduler.brain import Decision
from scheduler.events import (
    CallAnnounced,
    CallArrived,
    CallCancelled,
    CallFailed,
    CallFinished,
    DispatchFailed,
    Event,
)
from scheduler.types import CallId, EngineId

NEVER = 1 << 40
"""Output tokens of which nobody wants to be told."""


class Brainless:
    """The least loaded engine takes a call: that on which this gateway has the fewest. No pins, no order, no line.

    `up` are the engines that this gateway reaches now.
    """

    def __init__(self, pools: Mapping[str, Sequence[EngineId]], up: Mapping[EngineId, object]) -> None:
        self._pools = pools
        self._up = up
        self._calls: dict[CallId, CallArrived] = {}
        self._running: defaultdict[EngineId, set[CallId]] = defaultdict(set)
        self._failed: dict[CallId, list[EngineId]] = {}
        self._known: set[CallId] = set()
        """Calls under way that a brain had sent to their engines, and so knows."""
        self.finished: list[CallFinished] = []
        """How those of them ended that were answered: the brain does not know yet."""

    def take(self, event: Event) -> Decision:
        """Takes an event of a call; others change nothing."""
        match event:
            case CallArrived():
                return self._forward(event, event)
            case CallAnnounced(arrival=arrival, engine=None):
                return self._forward(arrival, event)
            case CallAnnounced(arrival=arrival, engine=str(engine)):
                self._calls[arrival.call] = arrival
                self._running[engine].add(arrival.call)
                self._known.add(arrival.call)
            case DispatchFailed(call=call, engine=engine):
                self._running[engine].discard(call)
                self._failed.setdefault(call, []).append(engine)
                return self._forward(self._calls[call], event)
            case CallFinished(call=call) if call in self._known:
                self.finished.append(event)
                self._forget(call)
            case CallFinished(call=call) | CallFailed(call=call) | CallCancelled(call=call):
                self._forget(call)
        return _decided()

    def _forward(self, arrival: CallArrived, event: Event) -> Decision:
        failed = self._failed.get(arrival.call, [])
        names = self._pools.get(arrival.model, ())
        engines = [name for name in names if name in self._up and name not in failed]
        if not engines:
            self._forget(arrival.call)
            return _decided(_stranded(arrival, failed, names))
        engine = min(engines, key=lambda name: len(self._running[name]))
        self._calls[arrival.call] = arrival
        self._running[engine].add(arrival.call)
        waited = max(0.0, event.at - arrival.at)
        return _decided(Dispatch(arrival.call, engine, 0, 0, 0.0, Why.FORWARDED, waited, NEVER))

    def _forget(self, call: CallId) -> None:
        self._calls.pop(call, None)
        self._failed.pop(call, None)
        self._known.discard(call)
        for running in self._running.values():
            running.discard(call)


def _stranded(arrival: CallArrived, failed: Sequence[EngineId], names: Sequence[EngineId]) -> Reject:
    if failed:
        detail = f"{', '.join(failed)} did not take the call"
        return Reject(arrival.call, RejectReason.ENGINES_FAILED, detail)
    return Reject(arrival.call, RejectReason.NO_ENGINE, f"no engine of {arrival.model!r} is up: {', '.join(names)}")


def _decided(*actions: Action) -> Decision:
    return Decision(actions, None)
