"""One term of a brain: from the lease that was won to its end. Decides for all gateways of the cell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from agentserve.cell.channel import Channel, Item
from agentserve.cell.journal import Journal
from agentserve.gateway.driver import Driver
from agentserve.state.base import Lease
from scheduler.actions import Abort, Action, Dispatch, Prewarm, Reject
from scheduler.brain import Brain, Decision
from scheduler.codec import decode, encode_action
from scheduler.events import (
    CallAnnounced,
    CallArrived,
    CallCancelled,
    CallFailed,
    CallFinished,
    EngineDown,
    EngineDraining,
    EngineResumed,
    EngineUp,
    Event,
    PolicyChanged,
)
from scheduler.policy import PolicyConfig
from scheduler.state import EngineStatus
from scheduler.types import CallId, Seconds

GRACE: Seconds = 2.0
"""After which a call that no gateway has announced is taken for gone with its gateway."""
MARGIN = 0.8
"""The part of the lease in which the brain decides: clocks differ, and what was decided takes a while to arrive."""

NOTHING = Decision((), None)


class Term:
    """The brain, whose calls are whose, and the log. All times but `renewed`'s are the driver's."""

    def __init__(
        self,
        lease: Lease,
        ttl: Seconds,
        brain: Brain,
        driver: Driver,
        journal: Journal,
        over: Callable[[Event], Decision],
        links: Callable[[], Iterable[Channel]],
    ) -> None:
        """`over` takes an event that came when the term was over, and ends it; `links` are the gateways that follow."""
        self.lease = lease
        self.brain = brain
        self.journal = journal
        self._ttl = ttl
        self._driver = driver
        self._over = over
        self._links = links
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._owners: dict[CallId, Channel | None] = {}
        """Who announced a call: None is this gateway."""
        self._orphans: dict[CallId, Seconds] = dict.fromkeys(brain.calls, self._loop.time() + GRACE)
        """Calls whose gateway has not been heard of, and how long it has time; by the loop's clock."""
        self._sweeper = self._loop.call_later(GRACE, self._sweep)

    def renewed(self, began: Seconds) -> None:
        """The lease has been renewed, by a request that began then by the loop's clock."""
        self._until = began + MARGIN * self._ttl

    @property
    def valid(self) -> bool:
        """Whether this brain may decide now."""
        return self._loop.time() < self._until

    def close(self) -> None:
        """Ends it; nothing is decided any more."""
        self._until = 0.0
        self._sweeper.cancel()

    # --- this gateway -----------------------------------------------------------------------------------------------

    def take(self, event: Event) -> Decision:
        """Decides on an event of this gateway."""
        if not self.valid:
            return self._over(event)
        return self._decide(event, None)

    def take_over(self, policy: PolicyConfig, configured: Sequence[Event]) -> None:
        """Tells the brain of what may have changed since it was asked last."""
        self._driver.advance(self.brain.now)
        for event in (*self._engines(), *configured):
            self._driver.obey(self.take(event))
        if self.brain.policy != policy:
            self._driver.obey(self.take(PolicyChanged(self._driver.now(), policy)))

    def _engines(self) -> list[Event]:
        """Engines that came, went or were changed. Those that are as they were have kept their KV."""
        now, known, up = self._driver.now(), self.brain.engines, self._driver.engines
        events: list[Event] = []
        for name in up:
            engine, spec = known.get(name), self._driver.specs[name]
            if engine is None or engine.status is EngineStatus.DOWN or engine.spec != spec:
                events.append(EngineUp(now, name, spec))
            elif engine.status is EngineStatus.DRAINING:
                events.append(EngineResumed(now, name))
            if name in self._driver.leaving:
                events.append(EngineDraining(now, name, leaving=True))
        gone = [name for name, engine in known.items() if engine.status is not EngineStatus.DOWN and name not in up]
        return [*events, *(EngineDown(now, name) for name in gone)]

    # --- other gateways ---------------------------------------------------------------------------------------------

    def heard(self, link: Channel, item: Item) -> None:
        """Decides on an event of another gateway.

        Raises:
            ValueError: it is none.
        """
        event = self._stamped(decode(item))
        if not self.valid:
            self._over(event)
            return
        if isinstance(event, CallFinished):
            call = self.brain.calls.get(event.call)
            if call is not None and call.engine is not None:
                self._driver.watch_pin(call.engine, call.ttl)
        self._driver.obey(self._decide(event, link))

    def _stamped(self, event: Event) -> Event:
        """As of now. What only the gateway with the brain can know of a call is added."""
        now = self._driver.now()
        match event:
            case CallArrived(deadline=None):
                return replace(event, at=now, deadline=self._driver.due(event.program, event.workflow, now))
            case CallAnnounced(arrival=arrival):
                arrival = replace(arrival, at=min(arrival.at, now))
                return replace(event, at=now, arrival=arrival, since=min(event.since, now))
        return replace(event, at=now)

    def left(self, link: Channel) -> None:
        """A gateway is gone. If it does not come back soon, its calls are."""
        until = self._loop.time() + GRACE
        calls = [call for call, owner in self._owners.items() if owner is link]
        for call in calls:
            del self._owners[call]
            self._orphans[call] = until
        if calls:
            self._watch()

    def _watch(self) -> None:
        self._sweeper.cancel()
        self._sweeper = self._loop.call_later(GRACE, self._sweep)

    def _sweep(self) -> None:
        now = self._loop.time()
        for call in [call for call, until in self._orphans.items() if until <= now]:
            del self._orphans[call]
            if self.valid:
                self._driver.obey(self._decide(CallCancelled(self._driver.now(), call), None))
        if self._orphans:
            self._watch()

    # --- decisions --------------------------------------------------------------------------------------------------

    def _decide(self, event: Event, owner: Channel | None) -> Decision:
        """Has the brain decide, and sends what others have to do. Returns what this gateway has to."""
        match event:
            case CallArrived(call=call):
                self._owners[call] = owner
            case CallAnnounced(arrival=arrival):
                self._owners[arrival.call] = owner
                self._orphans.pop(arrival.call, None)
        decision = self.brain.handle(event)
        self.journal.note(event, decision.actions)
        ours = tuple(action for action in decision.actions if not self._sent(action))
        match event:
            case CallFinished(call=call) | CallFailed(call=call) | CallCancelled(call=call):
                self._owners.pop(call, None)
                self._orphans.pop(call, None)
        return Decision(ours, decision.next_wakeup)

    def _sent(self, action: Action) -> bool:
        """Sends an action to the gateway whose call it is of, if that is another; one without a gateway goes nowhere."""
        if isinstance(action, Prewarm):
            for link in self._links():
                link.send(encode_action(action))
        if not isinstance(action, Dispatch | Reject | Abort):
            return False
        if action.call not in self._owners:
            return True
        owner = self._owners[action.call]
        if isinstance(action, Reject):
            del self._owners[action.call]
        if owner is None:
            return False
        owner.send(encode_action(action))
        return True
