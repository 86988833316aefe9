"""Fairness: whose turn it is between tenants. Asked first."""

from __future__ import annotations

from typing import ClassVar, Protocol

from scheduler.state import Call
from scheduler.types import Tokens
from scheduler.view import View


class Fairness(Protocol):
    """A fairness policy."""

    moving: ClassVar[bool]
    """Turns change while calls wait: tenants are asked for theirs anew for each call that may go."""

    def turn(self, view: View, call: Call) -> float:
        """The tenant's turn: calls with a smaller one go before all others that are or are not behind as they are."""
        ...

    def behind(self, view: View, call: Call) -> bool:
        """Whether the call stands behind all tenants' that are not, here and inside the engines."""
        ...

    def claims(self, view: View, call: Call) -> bool:
        """Whether the call takes what is its tenant's by right and others use, so that it need not leave them room to grow."""
        ...

    def keeps(self, view: View, call: Call) -> Tokens:
        """What the call has to leave free on an engine for calls of other tenants that may come."""
        ...
