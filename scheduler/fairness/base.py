"""Fairness: whose turn it is between tenants. Asked first, once for each call that joins the line."""

from __future__ import annotations

from typing import Protocol

from scheduler.state import Call
from scheduler.view import View


class Fairness(Protocol):
    """A fairness policy."""

    def turn(self, view: View, call: Call) -> float:
        """The tenant's turn: calls with a smaller one go before all others."""
        ...
