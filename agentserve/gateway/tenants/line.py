"""How many calls of a tenant wait for their turn, and how long the next one can be expected to."""

from __future__ import annotations

from scheduler.types import CallId, Seconds

MEMORY = 0.2
"""Weight of the latest interval in the average of them."""


class WaitingLine:
    """The waiting calls of one tenant.

    By Little's law a call waits for as many departures as there are calls before it. The interval between two
    departures is averaged while there are calls to depart; if the present one lasts longer already, it counts.
    """

    def __init__(self) -> None:
        self._waiting: dict[CallId, Seconds] = {}
        """Since when each of them has waited."""
        self._since: Seconds = 0.0
        """Of the present interval."""
        self._interval: Seconds | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, call: CallId, now: Seconds) -> None:
        """A call waits."""
        if not self._waiting:
            self._since = now
        self._waiting[call] = now

    def depart(self, call: CallId, now: Seconds) -> None:
        """A call goes to its engine. One that has not waited tells nothing."""
        if self._waiting.pop(call, now) == now:
            return
        latest, self._since = now - self._since, now
        known = latest if self._interval is None else self._interval
        self._interval = known + MEMORY * (latest - known)

    def leave(self, call: CallId) -> None:
        """A call is not wanted any more."""
        self._waiting.pop(call, None)

    def expected(self, now: Seconds) -> Seconds:
        """How long a call that joins now will wait. Behind nobody it is not known to wait."""
        if not self._waiting:
            return 0.0
        return len(self._waiting) * max(self._interval or 0.0, now - self._since)
