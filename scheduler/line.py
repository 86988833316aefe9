"""The waiting line: calls that have arrived and are on no engine yet, in the order the policies give them."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from operator import attrgetter

from scheduler.registry import Policies
from scheduler.state import Call
from scheduler.view import View

_place = attrgetter("key")


class Line:
    """A list sorted by (aged first, tenant's turn, order's key, arrival)."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def __iter__(self) -> Iterator[Call]:
        """From the head, over the line as it is now; calls may leave meanwhile."""
        return iter(tuple(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    def join(self, call: Call, policies: Policies, view: View) -> None:
        """Puts a call in its place."""
        order = policies.order.key(view, call)
        call.key = (not call.aged, policies.fairness.turn(view, call), order, call.sequence)
        insort(self._calls, call, key=_place)

    def leave(self, call: Call) -> None:
        """Takes a call out."""
        self._calls.remove(call)

    def age(self, call: Call, policies: Policies, view: View) -> None:
        """Moves a call that has waited too long before all that have not."""
        self.leave(call)
        call.aged = True
        self.join(call, policies, view)

    def reorder(self, policies: Policies, view: View) -> None:
        """Gives every call its place by other policies."""
        calls, self._calls = self._calls, []
        for call in calls:
            self.join(call, policies, view)

    def stands_behind(self, call: Call) -> bool:
        """Whether the head of the line goes before the call and to the same engines."""
        return bool(self._calls) and self._calls[0] is not call and self._calls[0].model == call.model

    def check_integrity(self) -> None:
        """Checks the order.

        Raises:
            AssertionError: a call is out of place, stands there twice, or is on an engine.
        """
        assert self._calls == sorted(self._calls, key=_place), "the line is out of order"
        assert len({call.id for call in self._calls}) == len(self._calls), "a call stands in line twice"
        assert all(call.engine is None for call in self._calls), "a dispatched call stands in line"
