"""Engines by registration: each says that it is there, and again before its lease is over, or falls out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agentserve.discovery.base import DiscoveryError
from agentserve.discovery.section import Entry
from agentserve.state.base import Store, StoreError
from scheduler.types import Seconds


class RegistrySource:
    """What is registered in a store. Gateways that share the store share the registrations.

    A store that has lost them takes no engine away before the lease that was known of it is over.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[Entry, Seconds]] = {}
        """Entries, and when their leases are over by the loop's clock."""

    async def register(self, entry: Entry, lease: Seconds) -> None:
        """The engine is there for so long. Raises `DiscoveryError` if that could not be noted."""
        try:
            await self._store.enlist(entry.name, entry.model_dump_json(), lease)
        except StoreError as error:
            raise DiscoveryError(f"the registration could not be noted: {error}") from error

    async def withdraw(self, name: str) -> None:
        """The engine leaves. Raises `DiscoveryError` if that could not be noted."""
        try:
            await self._store.delist(name)
        except StoreError as error:
            raise DiscoveryError(f"the engine could not be taken off the list: {error}") from error

    async def listed(self) -> Sequence[Entry]:
        """Those whose leases last. Raises `DiscoveryError` if the store does not answer."""
        try:
            found = await self._store.enlisted()
        except StoreError as error:
            raise DiscoveryError(f"registrations: {error}") from error
        now = asyncio.get_running_loop().time()
        for name, (text, left) in found.items():
            if text:
                self._known[name] = Entry.model_validate_json(text), now + left
            else:
                self._known.pop(name, None)
        self._known = {name: known for name, known in self._known.items() if known[1] > now}
        return [entry for entry, _ in self._known.values()]
