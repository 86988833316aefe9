"""The brain's log and snapshots on their way to the store, and the brain that they give again."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping

from agentserve.state.base import Lease, Saved, Snapshot, Store, StoreError
from agentserve.state.snapshot import CODE, SnapshotError, freeze, thaw
from scheduler.actions import Action
from scheduler.brain import Brain
from scheduler.codec import decode
from scheduler.events import Event
from scheduler.learned import Learned
from scheduler.log import digest, event_line
from scheduler.policy import PolicyConfig
from scheduler.types import Seconds

INTERVAL: Seconds = 0.02
"""Between two groups."""
SNAPSHOT_EVENTS = 2000
"""Events after which a snapshot takes the log's place: what a new brain has to play anew."""
PAUSE: Seconds = 0.2
"""Before a store that did not answer is asked again."""

logger = logging.getLogger(__name__)


class Journal:
    """Writes for one term. `run` is its task, which ends when the store takes nothing more of this lease."""

    def __init__(self, store: Store, lease: Lease, brain: Brain) -> None:
        self._store = store
        self._lease = lease
        self._brain = brain
        self._waiting: list[tuple[Event, tuple[Action, ...]]] = []
        self._since = SNAPSHOT_EVENTS
        """Events since the snapshot: a term begins with one."""
        self._some = asyncio.Event()
        self.written = 0
        """Bytes of the log so far."""

    def note(self, event: Event, actions: tuple[Action, ...]) -> None:
        """Takes an event and what was decided; both are written with the next group."""
        self._waiting.append((event, actions))
        self._some.set()

    async def run(self, fenced: Callable[[], None]) -> None:
        """Writes until the lease is over, of which `fenced` is told."""
        while True:
            try:
                if not await self.write():
                    fenced()
                    return
                await self._some.wait()
                await asyncio.sleep(INTERVAL)
            except StoreError as error:
                logger.warning("the brain's log has a gap, which a snapshot will close: %s", error)
                self._since = SNAPSHOT_EVENTS
                await asyncio.sleep(PAUSE)

    async def write(self) -> bool:
        """Writes what is there, as a snapshot if it is time for one; False if the lease is over."""
        group, self._waiting = self._waiting, []
        self._some.clear()
        self._since += len(group)
        if self._since >= SNAPSHOT_EVENTS:
            self._since = 0
            return await self._store.keep(self._lease, snapshot_of(self._brain))
        if not group:
            return True
        data = "\n".join(event_line(event, actions) for event, actions in group).encode()
        self.written += len(data)
        return await self._store.append(self._lease, data)


def snapshot_of(brain: Brain) -> Snapshot:
    """All of a brain, at rest."""
    return Snapshot(CODE, freeze(brain), json.dumps(brain.learned.to_json()))


def revive(saved: Saved | None, policy: PolicyConfig, idle_timeout: Seconds) -> Brain:
    """The brain that was saved, to the last event of its log; or, of other code, a new one with what it had learned."""
    if saved is None:
        return Brain(policy, idle_timeout=idle_timeout)
    if saved.snapshot.code == CODE:
        try:
            return _played(thaw(saved.snapshot.brain), saved.log)
        except (SnapshotError, ValueError):
            logger.exception("the saved brain cannot be read; a new one begins with what it had learned")
    else:
        logger.warning("the saved brain is of other code; a new one begins with what it had learned")
    return Brain(policy, learned=_learned(saved.snapshot.learned), idle_timeout=idle_timeout)


def _played(brain: Brain, log: tuple[bytes, ...]) -> Brain:
    differs = 0
    for group in log:
        for line in group.decode().splitlines():
            record = json.loads(line)
            recorded = record.pop("actions")
            differs += digest(brain.handle(decode(record)).actions) != recorded
    if differs:
        logger.error("%d events of the log led to other actions than before: please report it", differs)
    return brain


def _learned(text: str) -> Mapping[str, object] | None:
    try:
        learned: Mapping[str, object] = json.loads(text)
        Learned.from_json(learned)
    except (ValueError, AttributeError) as error:
        logger.warning("what had been learned cannot be read, and is forgotten: %s", error)
        return None
    return learned
