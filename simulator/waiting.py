"""The engine's waiting queue, first come first served or by priority."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator

from simulator.request import Progress


class WaitingQueue:
    """Requests that are not admitted yet, or no longer. Preempted ones go to the front, or where priority puts them."""

    def __init__(self, *, by_priority: bool) -> None:
        self._by_priority = by_priority
        self._items: list[Progress] = []

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Progress]:
        return iter(self._items)

    def push(self, item: Progress) -> None:
        """Adds a request that has just arrived."""
        if self._by_priority:
            insort(self._items, item, key=lambda other: other.urgency)
        else:
            self._items.append(item)

    def push_back(self, item: Progress) -> None:
        """Adds a request that was preempted."""
        if self._by_priority:
            self.push(item)
        else:
            self._items.insert(0, item)

    @property
    def head(self) -> Progress:
        """The request that is next."""
        return self._items[0]

    def pop(self) -> Progress:
        """Removes the request that is next."""
        return self._items.pop(0)

    def remove(self, item: Progress) -> None:
        """Removes a request wherever it stands."""
        self._items.remove(item)
