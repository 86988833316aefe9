"""No difference between tenants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scheduler.state import Call
from scheduler.types import Tokens
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class NoFairness:
    """All tenants share one line."""

    moving: ClassVar[bool] = False

    def turn(self, view: View, call: Call) -> float:
        return 0.0

    def behind(self, view: View, call: Call) -> bool:
        return False

    def claims(self, view: View, call: Call) -> bool:
        return False

    def keeps(self, view: View, call: Call) -> Tokens:
        return 0
