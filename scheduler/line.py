"""The waiting line: calls that have arrived and are on no engine yet, in the order the policies give them."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from scheduler.fairness.base import Fairness
from scheduler.order.base import Moves, Order
from scheduler.registry import Policies
from scheduler.state import Call
from scheduler.types import TenantId
from scheduler.view import View

_place = attrgetter("key")
HEAD = 64
"""Calls at the head that an order whose keys move looks at: sorting all of them at every step would cost too much."""


class Line:
    """A list sorted by (aged first, tenant's tier, tenant's turn, client's priority, order's key, arrival), without those
    of them that move with time.
    """

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._steps = 0

    def __iter__(self) -> Iterator[Call]:
        """From the head, over the line as it is now; calls may leave meanwhile."""
        return iter(tuple(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    @staticmethod
    def moves(policies: Policies) -> bool:
        """Whether places change with time."""
        return policies.order.moves is Moves.ALWAYS or policies.fairness.moving

    def walk(self, policies: Policies, view: View) -> Iterable[Call]:
        """From the head, in the order of now; calls may leave meanwhile."""
        if policies.order.moves is Moves.IN_STEPS and self._steps != view.learned.steps:
            self.reorder(policies, view)
        if policies.fairness.moving:
            return self._in_turns(policies, view)
        return _ordered(self._calls, policies.order, view)

    def _in_turns(self, policies: Policies, view: View) -> Iterator[Call]:
        """Aged calls, then tenants in turn, asked anew for each call; a tenant's calls in their own order."""
        aged = [call for call in self._calls if call.aged]
        tenants: dict[TenantId, list[Call]] = {}
        for call in self._calls[len(aged) :]:
            tenants.setdefault(call.program.key.tenant, []).append(call)
        lines = {name: deque(_ordered(calls, policies.order, view)) for name, calls in tenants.items()}
        yield from aged
        while lines:
            tenant = min(lines, key=lambda name: _turn(lines[name][0], policies.fairness, view))
            yield lines[tenant].popleft()
            if not lines[tenant]:
                del lines[tenant]

    def join(self, call: Call, policies: Policies, view: View) -> None:
        """Puts a call in its place."""
        order = 0.0 if policies.order.moves is Moves.ALWAYS else policies.order.key(view, call)
        turn = 0.0 if policies.fairness.moving else policies.fairness.turn(view, call)
        tier = _tier(view, call.program.key.tenant)
        call.key = (not call.aged, tier, turn, -call.priority, order, call.sequence)
        insort(self._calls, call, key=_place)

    def leave(self, call: Call) -> None:
        """Takes a call out."""
        self._calls.remove(call)

    def find_place(self, call: Call, policies: Policies, view: View) -> None:
        """Gives a call that stands here its place anew."""
        if call.engine is None:
            self.leave(call)
            self.join(call, policies, view)

    def age(self, call: Call, policies: Policies, view: View) -> None:
        """Moves a call that has waited too long before all that have not."""
        self.leave(call)
        call.aged = True
        self.join(call, policies, view)

    def reorder(self, policies: Policies, view: View) -> None:
        """Gives every call its place anew."""
        self._steps = view.learned.steps
        calls, self._calls = self._calls, []
        for call in calls:
            self.join(call, policies, view)

    def stands_behind(self, call: Call) -> bool:
        """Whether the head of the line goes before the call and to the same engines."""
        head = self._calls[0] if self._calls else call
        return head is not call and (head.model, head.bound) == (call.model, call.bound)

    def check_integrity(self) -> None:
        """Checks the order.

        Raises:
            AssertionError: a call is out of place, stands there twice, or is on an engine.
        """
        assert self._calls == sorted(self._calls, key=_place), "the line is out of order"
        assert len({call.id for call in self._calls}) == len(self._calls), "a call stands in line twice"
        assert all(call.engine is None for call in self._calls), "a dispatched call stands in line"


def _tier(view: View, tenant: TenantId) -> int:
    return view.tiers.get(tenant, 0)


def _turn(call: Call, fairness: Fairness, view: View) -> tuple[float, ...]:
    return _tier(view, call.program.key.tenant), fairness.behind(view, call), fairness.turn(view, call)


def _ordered(calls: Sequence[Call], order: Order, view: View) -> tuple[Call, ...]:
    """The calls; if their keys move, those at the head by their keys of now."""
    if order.moves is not Moves.ALWAYS:
        return tuple(calls)

    def place(call: Call) -> tuple[float, ...]:
        aged, tier, turn, priority, _, sequence = call.key
        return aged, tier, turn, priority, order.key(view, call), sequence

    return (*sorted(calls[:HEAD], key=place), *calls[HEAD:])
