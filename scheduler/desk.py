"""What the brain's parts work on together."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.actions import Action
from scheduler.alarms import Alarms
from scheduler.books import Books
from scheduler.registry import Policies
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(slots=True)
class Desk:
    """The policies in force, the books, what policies may see of them, alarms, and the actions of the present event."""

    policies: Policies
    books: Books
    view: View
    alarms: Alarms = field(default_factory=Alarms)
    actions: list[Action] = field(default_factory=list)

    @property
    def now(self) -> Seconds:
        """The time of the present event."""
        return self.view.now
