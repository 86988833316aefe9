"""A gateway's calls in flight, as it says them to a brain that may not know them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentserve.gateway.lives import Life
from scheduler.events import CallAnnounced
from scheduler.types import Seconds


def announcements(lives: Iterable[Life], now: Seconds) -> Iterator[CallAnnounced]:
    """Each call that has not ended."""
    for life in lives:
        if life.dispatch is None or life.dispatched is None:
            yield CallAnnounced(now, life.arrival)
        else:
            yield CallAnnounced(
                now, life.arrival, life.dispatch.engine, life.dispatched, life.first_token is not None, life.output
            )
