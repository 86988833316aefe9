"""The event log on disk: what `agentserve replay-log` reads. Written in groups, by a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from pathlib import Path

from scheduler.actions import Action
from scheduler.brain import Brain, Decision
from scheduler.events import Event
from scheduler.log import event_line, snapshot_line
from scheduler.types import Seconds

INTERVAL: Seconds = 0.25
"""Between two groups."""

logger = logging.getLogger(__name__)


class EventLog:
    """A log of one brain, begun before its first event."""

    def __init__(self, path: Path, brain: Brain) -> None:
        """Begins the file anew. Raises `OSError` where that cannot be done."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")
        self._file.write(snapshot_line(brain) + "\n")
        self._waiting: deque[tuple[Event, tuple[Action, ...]]] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event log", daemon=True)
        self._thread.start()

    def record(self, event: Event, decision: Decision) -> None:
        """Takes an event and what was decided; both are written with the next group."""
        if self._thread.is_alive():
            self._waiting.append((event, decision.actions))

    def close(self) -> None:
        """Writes what is left."""
        self._closing.set()
        self._thread.join()
        self._file.close()

    def _run(self) -> None:
        try:
            while not self._closing.wait(INTERVAL):
                self._write()
            self._write()
        except OSError:
            logger.exception("the event log ends here")

    def _write(self) -> None:
        for _ in range(len(self._waiting)):
            event, actions = self._waiting.popleft()
            self._file.write(event_line(event, actions) + "\n")
        self._file.flush()
