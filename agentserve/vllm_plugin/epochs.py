"""Whose orders an engine takes: those of the brain that leads since the latest time it has heard of."""

from __future__ import annotations

HEADER = "x-agentserve-epoch"
"""Since when the sender leads. Without it, an order is older than all that have one."""


class StaleError(Exception):
    """An order of a brain that was followed by another. The message says so."""


class Epochs:
    """The latest epoch of one engine."""

    def __init__(self) -> None:
        self._latest = 0

    def admit(self, header: str | None) -> None:
        """Takes note of an order's epoch.

        Raises:
            StaleError: a later one was there before.
            ValueError: it is no epoch.
        """
        if header is not None and not (header.isascii() and header.isdigit() and len(header) < 20):
            raise ValueError(f"{HEADER} must be a whole number, not {header[:40]!r}")
        epoch = int(header or 0)
        if epoch < self._latest:
            raise StaleError(f"an order of epoch {epoch} came after one of epoch {self._latest}")
        self._latest = epoch
