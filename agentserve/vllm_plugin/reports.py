"""What became of pins: a ring of the latest reports, which readers follow by a cursor, and totals since the start."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum

CAPACITY = 4096


class Outcome(StrEnum):
    """What became of a pin. The value is the wire's word and the metric's label."""

    APPLIED = "applied"
    HIT = "hit"
    EXPIRED = "expired"
    BROKEN = "broken"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Report:
    """One outcome.

    `tokens` is what the pin protects (applied), the cached tokens that the returning call reused (hit), what the pin
    still held (expired, lost), or what is left of it (broken).
    """

    program: str
    outcome: Outcome
    tokens: int


class Reports:
    """The latest 4,096 reports in the order they were made. Their numbers start at 1."""

    def __init__(self) -> None:
        self.cursor = 0
        self.totals: Counter[Outcome] = Counter()
        self._ring: deque[Report] = deque(maxlen=CAPACITY)

    def add(self, program: str, outcome: Outcome, tokens: int) -> None:
        """Makes a report."""
        self.cursor += 1
        self.totals[outcome] += 1
        self._ring.append(Report(program, outcome, tokens))

    def since(self, cursor: int) -> list[Report]:
        """The reports after the one of that number, as far as the ring still has them.

        A cursor from the future was given by an engine that has restarted: it gets all there is.
        """
        missing = self.cursor - cursor if cursor <= self.cursor else self.cursor
        return list(self._ring)[-missing:] if missing else []
