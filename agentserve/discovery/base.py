"""The contract of those who list engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agentserve.discovery.section import Entry


class DiscoveryError(Exception):
    """It cannot be told which engines there are. The message says why and what to do; the last list holds."""


class EngineSource(Protocol):
    """Lists engines."""

    async def listed(self) -> Sequence[Entry]:
        """Those that are there now. One that was listed and no longer is leaves.

        Raises:
            DiscoveryError: it cannot be told.
        """
        ...
