"""The three queues of procedures' steps: draft, verify and take over.

Verifications are short prefills and go at once. Drafts and takeovers go when their model has a slot free for that
stage, so that the slots which verifications need are never taken. Takeovers of the vote that is least decided go
first, for they can change it most; drafts go in the order in which they were asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from scheduler.average import Average
from scheduler.procedures.base import Procedure, Stage, Step
from scheduler.types import CallId, Seconds

SHARE = 0.75
"""The share of a model's places that one stage may fill; the rest is left for verifications."""
LEAST_RATE = 0.25
"""The takeover rate never falls below this share of what was asked for."""


class Queue(NamedTuple):
    """Steps of one stage on one model."""

    model: str
    stage: Stage


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A step that waits, or runs."""

    call: CallId
    queue: Queue
    step: Step
    procedure: Procedure
    sequence: int

    @property
    def place(self) -> tuple[float, int]:
        """Its place in the queue: the smallest goes first."""
        doubt = self.procedure.certainty if self.queue.stage is Stage.TAKEOVER else 0.0
        return doubt, self.sequence


@dataclass(slots=True)
class Line:
    """A queue's steps."""

    waiting: dict[CallId, Entry] = field(default_factory=dict)
    running: dict[CallId, Seconds] = field(default_factory=dict)
    """Since when each runs."""
    duration: Average = field(default_factory=lambda: Average(0.0))


class Stages:
    """The queues of a cell. `places` tells how many requests a model's engines run side by side."""

    def __init__(self, places: Callable[[str], int]) -> None:
        self._places = places
        self._lines: defaultdict[Queue, Line] = defaultdict(Line)
        self._queues: dict[CallId, Queue] = {}

    def enter(self, entry: Entry) -> None:
        """A step wants to run."""
        self._lines[entry.queue].waiting[entry.call] = entry
        self._queues[entry.call] = entry.queue

    def leave(self, call: CallId, now: Seconds, *, ended: bool) -> bool:
        """A step ended, or is not wanted any more. Whether it was running."""
        queue = self._queues.pop(call, None)
        if queue is None:
            return False
        line = self._lines[queue]
        since = line.running.pop(call, None)
        line.waiting.pop(call, None)
        if ended and since is not None:
            line.duration.add(now - since)
        return since is not None

    def ready(self, now: Seconds) -> Iterator[Entry]:
        """The steps that go now. They run from now on."""
        for queue, line in self._lines.items():
            while line.waiting and len(line.running) < self._slots(queue):
                entry = min(line.waiting.values(), key=lambda entry: entry.place)
                del line.waiting[entry.call]
                line.running[entry.call] = now
                yield entry

    def rate(self, asked: float, draft: str, target: str) -> float:
        """The takeover rate that the target bears.

        While it has more takeovers than slots the rate falls to that at which both models would be equally busy, by
        the durations observed: (draft seconds / draft slots) / (takeover seconds / takeover slots).
        """
        drafts, takeovers = Queue(draft, Stage.DRAFT), Queue(target, Stage.TAKEOVER)
        line, slots = self._lines[takeovers], self._slots(takeovers)
        if len(line.waiting) == 0 or not line.duration.count or not self._lines[drafts].duration.count:
            return asked
        balanced = (self._lines[drafts].duration.value / self._slots(drafts)) / (line.duration.value / slots)
        return min(asked, max(LEAST_RATE * asked, balanced))

    @property
    def size(self) -> int:
        """Steps that wait or run."""
        return len(self._queues)

    def _slots(self, queue: Queue) -> float:
        if queue.stage is Stage.VERIFY:
            return float("inf")
        return max(1, int(SHARE * self._places(queue.model)))
