"""What policies that learn for themselves hear.

A policy is asked through its contract and told through this one. What it keeps of what it is told begins empty with
the policy and depends on nothing but the brain's events, so that a log replays to the same decisions.
"""

from __future__ import annotations

from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds, Usage
from scheduler.view import View


class Listener:
    """A policy that is told what happens. Each method may be overridden; the books are up to date when it is called."""

    def call_arrived(self, view: View, call: Call) -> None:
        """A call has arrived and neither waits nor runs yet."""

    def call_bound(self, view: View, call: Call, engine: EngineState) -> None:
        """A call will wait for its turn on this engine, as the placement policy chose."""

    def call_dispatched(self, view: View, call: Call, engine: EngineState) -> None:
        """A call goes to an engine."""

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        """A call has its answer. `program.context` is that of now; a gap, if one begins, has not begun yet."""

    def call_dropped(self, view: View, call: Call) -> None:
        """A call ended without an answer, or is to be dispatched anew."""

    def gap_ended(self, view: View, program: Program, gap: Seconds) -> None:
        """A program in its gap has come back. Its new call has not arrived yet."""

    def program_ended(self, view: View, program: Program) -> None:
        """No further call will come."""
