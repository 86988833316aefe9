"""The store of a cell that lives in one process."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping

from agentserve.state.base import LEFT, Candidate, Lease, Saved, Snapshot
from scheduler.types import Seconds, TenantId, Tokens

MAX_RESPONSES = 16_384
"""Responses remembered; the oldest go first."""


class MemoryStore:
    """Keeps everything in dictionaries. `clock` is the time in seconds since 1970."""

    def __init__(self, clock: Callable[[], Seconds] = time.time) -> None:
        self._clock = clock
        self._lease: Lease | None = None
        self._until: Seconds = 0.0
        self._epoch = 0
        self._snapshot: Snapshot | None = None
        self._log: list[bytes] = []
        self._spent: defaultdict[tuple[TenantId, int], dict[str, Tokens]] = defaultdict(dict)
        self._engines: dict[str, tuple[str, Seconds]] = {}
        self._responses: OrderedDict[tuple[TenantId, str], str] = OrderedDict()

    async def open(self) -> Seconds:
        """There is nothing to check."""
        return self._clock()

    async def close(self) -> None:
        """There is nothing to close."""

    async def leader(self) -> Lease | None:
        """Who has the brain now."""
        return self._lease if self._clock() < self._until else None

    async def acquire(self, candidate: Candidate, ttl: Seconds, seen: int) -> Lease | None:
        """Takes the lease if nobody has it."""
        if await self.leader() is not None:
            return None
        previous, self._epoch = self._epoch, max(self._epoch + 1, seen + 1, int(self._clock()))
        self._lease, self._until = Lease(candidate, self._epoch, previous), self._clock() + ttl
        return self._lease

    async def renew(self, lease: Lease, ttl: Seconds) -> bool:
        """Makes the lease last for `ttl` from now."""
        if not await self._holds(lease):
            return False
        self._until = self._clock() + ttl
        return True

    async def release(self, lease: Lease) -> None:
        """Gives the lease back."""
        if await self._holds(lease):
            self._lease = None

    async def _holds(self, lease: Lease) -> bool:
        leader = await self.leader()
        return leader is not None and leader.epoch == lease.epoch

    async def append(self, lease: Lease, group: bytes) -> bool:
        """Adds a group of lines to the log."""
        if lease.epoch != self._epoch:
            return False
        self._log.append(group)
        return True

    async def keep(self, lease: Lease, snapshot: Snapshot) -> bool:
        """Replaces the snapshot and empties the log."""
        if lease.epoch != self._epoch:
            return False
        self._snapshot = snapshot
        self._log.clear()
        return True

    async def restore(self) -> Saved | None:
        """What the last brain left."""
        return None if self._snapshot is None else Saved(self._snapshot, tuple(self._log))

    async def spend(self, gateway: str, tenant: TenantId, period: int, tokens: Tokens) -> Tokens:
        """Notes what one gateway has spent, and returns what all have."""
        spent = self._spent[tenant, period]
        spent[gateway] = tokens
        return sum(spent.values())

    async def remember(self, programs: Mapping[tuple[TenantId, str], str]) -> None:
        """Notes the programs of responses."""
        self._responses.update(programs)
        while len(self._responses) > MAX_RESPONSES:
            self._responses.popitem(last=False)

    async def enlist(self, name: str, entry: str, ttl: Seconds) -> None:
        """Notes what there is to say of an engine."""
        self._engines[name] = entry, self._clock() + ttl

    async def delist(self, name: str) -> None:
        """Says of an engine that it leaves."""
        await self.enlist(name, "", LEFT)

    async def enlisted(self) -> Mapping[str, tuple[str, Seconds]]:
        """What was said of each engine, and how long it still holds."""
        now = self._clock()
        self._engines = {name: said for name, said in self._engines.items() if said[1] > now}
        return {name: (entry, until - now) for name, (entry, until) in self._engines.items()}

    async def recall(self, tenant: TenantId, response: str) -> str | None:
        """The program of a response."""
        return self._responses.get((tenant, response))
