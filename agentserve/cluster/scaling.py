"""How many engines there should be: by the working set of programs, not by the requests in flight."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scheduler.types import Seconds, Tokens

FULL = 0.8
"""The share of engines' memory that the working set may take before another is started."""
IDLE = 5.0
"""An engine that is not needed is kept for so many cold starts: its return would cost one (the ski-rental rule, with a margin
because programs come in waves)."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one group of engines: how many there may be, what one holds, and how long it takes to start."""

    least: int
    most: int
    kv_tokens: Tokens
    cold_start: Seconds


@dataclass(frozen=True, slots=True)
class Scale:
    """What was decided last: how many, since when fewer would do, and the working set then and there."""

    count: int
    spare_since: Seconds | None = None
    at: Seconds | None = None
    tokens: Tokens = 0


def rescale(scale: Scale, tokens: Tokens, now: Seconds, bounds: Bounds) -> Scale:
    """The next decision, for a working set of `tokens`.

    Engines are started for what the working set will be when they serve, by its growth since the last look: what it is
    by then may not wait for a cold start. One is taken away, and only one, when fewer have sufficed for `IDLE` of them.
    """
    growth = 0.0 if scale.at is None or now <= scale.at else (tokens - scale.tokens) / (now - scale.at)
    expected = tokens + max(0.0, growth) * bounds.cold_start
    wanted = min(max(math.ceil(expected / (FULL * bounds.kv_tokens)), bounds.least), bounds.most)
    seen = replace(scale, at=now, tokens=tokens)
    if wanted >= scale.count:
        return replace(seen, count=wanted, spare_since=None)
    since = now if scale.spare_since is None else scale.spare_since
    if now - since < IDLE * bounds.cold_start:
        return replace(seen, spare_since=since)
    return replace(seen, count=scale.count - 1, spare_since=now)
