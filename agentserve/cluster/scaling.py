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
    idle: Seconds = 0.0
    """How long the last one is kept for nobody, where there may be none."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Of one model: the working set, whether calls wait or run, and when the first program in a gap is likely back."""

    tokens: Tokens
    calls: bool = False
    returns_in: Seconds | None = None

    def needs_one(self, cold_start: Seconds) -> bool:
        """Whether there must be an engine: for calls, or for one that would come before another had started."""
        return self.calls or (self.returns_in is not None and self.returns_in <= cold_start)


@dataclass(frozen=True, slots=True)
class Scale:
    """What was decided last: how many, since when fewer would do, and the working set then and there."""

    count: int
    spare_since: Seconds | None = None
    at: Seconds | None = None
    tokens: Tokens = 0


def rescale(scale: Scale, demand: Demand, now: Seconds, bounds: Bounds) -> Scale:
    """The next decision.

    Engines are started for what the working set will be when they serve, by its growth since the last look: what it is
    by then may not wait for a cold start. One is taken away, and only one, when fewer have sufficed for `IDLE` of them.
    The last goes, where none need stay, when nobody has needed one for `idle`; from none, only a call has one started.
    """
    tokens = demand.tokens
    growth = 0.0 if scale.at is None or now <= scale.at else (tokens - scale.tokens) / (now - scale.at)
    expected = tokens + max(0.0, growth) * bounds.cold_start
    least = _least(scale, demand, bounds)
    wanted = min(max(math.ceil(expected / (FULL * bounds.kv_tokens)), least), bounds.most) if least else 0
    seen = replace(scale, at=now, tokens=tokens)
    if wanted >= scale.count:
        return replace(seen, count=wanted, spare_since=None)
    since = now if scale.spare_since is None else scale.spare_since
    kept = IDLE * bounds.cold_start if scale.count > 1 else bounds.idle
    if now - since < kept:
        return replace(seen, spare_since=since)
    return replace(seen, count=scale.count - 1, spare_since=now)


def _least(scale: Scale, demand: Demand, bounds: Bounds) -> int:
    """As few as there may be now."""
    needed = demand.needs_one(bounds.cold_start) if scale.count else demand.calls
    return max(bounds.least, int(needed))
