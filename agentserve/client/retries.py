"""When a call that the gateway refused for now is sent again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

LATER = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and how long one waits: only where the gateway says when to come again (`Retry-After`).

    Attributes:
        attempts: how many more attempts a call gets; 0 turns retries off.
        longest: seconds; a longer pause is not waited for, the refusal is raised instead.
    """

    attempts: int = 2
    longest: float = 60.0

    def pause(self, status: int, headers: Mapping[str, str], attempt: int, left: float | None) -> float | None:
        """Seconds until the next attempt after attempt number `attempt` (from 1); None if there is none.

        `left` are the seconds until the program's deadline: a pause that ends after it is not waited for.
        """
        if status not in LATER or attempt > self.attempts:
            return None
        asked = _seconds(headers.get("retry-after", ""))
        if asked is None or asked > self.longest or (left is not None and asked >= left):
            return None
        return asked


def _seconds(value: str) -> float | None:
    """What `Retry-After` says, a number of seconds or a date."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
