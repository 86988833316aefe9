"""The event log of a simulation, as a gateway writes one: what `agentserve replay-log` replays and shows."""

from __future__ import annotations

from typing import TextIO

from scheduler.brain import Brain, Decision
from scheduler.events import Event
from scheduler.log import event_line, snapshot_line


class Logged:
    """A brain whose events and actions are written down."""

    def __init__(self, brain: Brain, log: TextIO) -> None:
        """To be made before the brain's first event."""
        self._brain = brain
        self._log = log
        log.write(snapshot_line(brain) + "\n")

    def handle(self, event: Event) -> Decision:
        """What the brain decides."""
        decision = self._brain.handle(event)
        self._log.write(event_line(event, decision.actions) + "\n")
        return decision
