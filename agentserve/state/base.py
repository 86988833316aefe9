"""The contract of a store: what is in it, and what each change promises.

A store belongs to one *cell*: one brain and its gateways. All that the brain writes carries its *lease*, whose epoch is
the fencing token: the store takes nothing of an epoch that is over, however late it arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from scheduler.types import Seconds, TenantId, Tokens

SCHEMA = 1
"""Of the keys and values. A program that finds another one does not touch them."""


LEFT: Seconds = 60.0
"""How long it is said of an engine that it has left."""


class StoreError(Exception):
    """The store cannot be used as it is. The message says why and what to do."""


class StoreUnreachableError(StoreError):
    """The store gave no answer: it may be back in a while."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who wants to have the brain, and where other gateways reach it: `host:port`, and the word that opens it."""

    gateway: str
    address: str
    secret: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to decide. Epochs only grow, also over a store that was wiped: none is below the time in seconds."""

    holder: Candidate
    epoch: int
    previous: int
    """The last epoch that the store knew of before; 0 if it knew of none."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A brain at rest. `brain` can be thawed by the code of that name only, `learned` (JSON) by any."""

    code: str
    brain: bytes
    learned: str


@dataclass(frozen=True, slots=True)
class Saved:
    """The latest snapshot, and the groups of log lines that were appended since."""

    snapshot: Snapshot
    log: tuple[bytes, ...]


class Store(Protocol):
    """All methods raise `StoreUnreachableError` where there is no answer, and then may or may not have happened."""

    async def open(self) -> Seconds:
        """Checks that the store can be used, and returns its clock: seconds since 1970.

        Raises:
            StoreError: it is of a version, schema or password that this program cannot use.
        """
        ...

    async def close(self) -> None:
        """Closes connections. What is stored stays."""
        ...

    # --- the lease --------------------------------------------------------------------------------------------------

    async def leader(self) -> Lease | None:
        """Who has the brain now."""
        ...

    async def acquire(self, candidate: Candidate, ttl: Seconds, seen: int) -> Lease | None:
        """Takes the lease if nobody has it. Its epoch is above all that the store knows of, and above `seen`."""
        ...

    async def renew(self, lease: Lease, ttl: Seconds) -> bool:
        """Makes the lease last for `ttl` from now; False if it is over."""
        ...

    async def release(self, lease: Lease) -> None:
        """Gives the lease back, if it is not over."""
        ...

    # --- the brain --------------------------------------------------------------------------------------------------

    async def append(self, lease: Lease, group: bytes) -> bool:
        """Adds a group of lines to the log; False if the lease is not of the latest epoch."""
        ...

    async def keep(self, lease: Lease, snapshot: Snapshot) -> bool:
        """Replaces the snapshot and empties the log, in one step; False if the lease is not of the latest epoch."""
        ...

    async def restore(self) -> Saved | None:
        """What the last brain left; None if there is none."""
        ...

    # --- what gateways share ----------------------------------------------------------------------------------------

    async def spend(self, gateway: str, tenant: TenantId, period: int, tokens: Tokens) -> Tokens:
        """Notes all that one gateway has spent of a tenant's budget in a period, and returns what all of them have.

        It is the whole sum each time, so that a repeated or a late note counts nothing twice.
        """
        ...

    async def remember(self, programs: Mapping[tuple[TenantId, str], str]) -> None:
        """Notes the programs of responses, by tenant and response id."""
        ...

    async def enlist(self, name: str, entry: str, ttl: Seconds) -> None:
        """Notes what there is to say of an engine, for `ttl` from now."""
        ...

    async def delist(self, name: str) -> None:
        """Says of an engine that it leaves."""
        ...

    async def enlisted(self) -> Mapping[str, tuple[str, Seconds]]:
        """What was said of each engine, and how long it still holds; the empty word says that it leaves."""
        ...

    async def recall(self, tenant: TenantId, response: str) -> str | None:
        """The program of a response."""
        ...
