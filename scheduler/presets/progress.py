"""Progress-TTL's arithmetic: what keeping a context saves, for how long to keep it, and windows of what was seen.

The rule is that of vllm-router 0.1.16. With I(n) the cost of restoring n tokens, and gaps taken as log-normal with mean
m and standard deviation s of their logarithms,

    U(d) = I Phi(z) - exp(m + s^2/2) Phi(z - s) - d (1 - Phi(z))    z = (ln d - m) / s    U(0) = 0

is what a time-to-live of d gains: the restoring it saves, less the time that memory is held in vain or in a gap.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from scheduler.types import Seconds, StepCost, Tokens

_PER_TOKEN, _PER_SQUARE = 0.05702024012166613e-3, 0.0044057347937978475e-6
RELEASED_PREFILL = StepCost(0.06600061907132926, _PER_TOKEN - _PER_SQUARE, 2 * _PER_SQUARE)
"""The released coefficients, of a model that is not named: 0.066 + 0.057 x + 0.0044 x^2 s for x thousand tokens."""
RELEASED_DECODE = StepCost(0.010635218423115973, 0.0, 0.0, 0.0004192803698834784, 1.420458414996201e-7)
"""The released coefficients of a decode step."""

SHORTEST: Seconds = 0.05
"""Shortest time-to-live that is tried, but for none."""
POINTS = 32
"""Times-to-live that are tried from there on, evenly spaced by their logarithms."""


def decode_rate(steps: StepCost, batch: int, context: Tokens) -> float:
    """Tokens a second that a batch produces."""
    return batch / steps.decode(batch, context)


class LogNormal(NamedTuple):
    """A distribution of gaps, by the mean and the standard deviation of their logarithms."""

    mean: float
    deviation: float

    def gain(self, restore: Seconds, ttl: Seconds) -> float:
        """U(ttl) in seconds, where restoring costs `restore`."""
        if ttl <= 0:
            return 0.0
        z = (math.log(ttl) - self.mean) / self.deviation
        ended = _phi(z)
        average = math.exp(self.mean + self.deviation**2 / 2)
        return restore * ended - average * _phi(z - self.deviation) - ttl * (1 - ended)

    def best_ttl(self, restore: Seconds, longest: Seconds) -> Seconds:
        """The candidate up to `longest` and up to `restore` that gains most; the last of equals; 0 if none gains."""
        cap = min(longest, restore)
        if cap <= 0:
            return 0.0
        first = min(SHORTEST, cap)
        best, best_gain = 0.0, 0.0
        for ttl in (first, cap, *(first * (cap / first) ** (point / (POINTS - 1)) for point in range(POINTS))):
            gain = self.gain(restore, ttl)
            if gain >= best_gain:
                best, best_gain = ttl, gain
        return best


def fit(gaps: Iterable[Seconds]) -> LogNormal | None:
    """The log-normal of the gaps that are longer than zero; None if there are none."""
    logs = [math.log(gap) for gap in gaps if gap > 0]
    if not logs:
        return None
    mean = sum(logs) / len(logs)
    variance = sum((value - mean) ** 2 for value in logs) / len(logs)
    return LogNormal(mean, max(math.sqrt(variance), 1e-6))


class Served(NamedTuple):
    """One answered call. `decode` is 0 where the first token was not seen, `growth` where the prompt did not grow."""

    prompt: Tokens
    uncached: Tokens
    output: Tokens
    seconds: Seconds
    decode: Seconds
    growth: Tokens
    finished: Seconds


@dataclass(frozen=True, slots=True)
class Means:
    """Averages over the calls of a window; 0 of none."""

    prompt: float = 0.0
    uncached: float = 0.0
    output: float = 0.0
    seconds: float = 0.0
    decode: float = 0.0
    growth: float = 0.0
    """Over the calls whose prompt grew."""
    rate: float = 0.0
    """Calls answered a second."""


@dataclass(slots=True)
class Windows:
    """The latest calls, gaps and pauses of one engine, up to `size` of each."""

    size: int
    means: Means = field(default_factory=Means)
    _served: deque[Served] = field(init=False)
    _gaps: deque[Seconds] = field(init=False)
    _rounds: deque[int] = field(init=False)

    def __post_init__(self) -> None:
        self._served = deque(maxlen=self.size)
        self._gaps = deque(maxlen=self.size)
        self._rounds = deque(maxlen=self.size)

    @property
    def full(self) -> bool:
        """As many calls as the window holds were answered."""
        return len(self._served) == self.size

    def add_call(self, served: Served) -> None:
        """A call was answered."""
        self._served.append(served)
        calls = self._served
        span = calls[-1].finished - calls[0].finished
        self.means = Means(
            prompt=_mean([call.prompt for call in calls]),
            uncached=_mean([call.uncached for call in calls]),
            output=_mean([call.output for call in calls]),
            seconds=_mean([call.seconds for call in calls]),
            decode=_mean([call.decode for call in calls if call.decode > 0]),
            growth=_mean([call.growth for call in calls if call.growth > 0]),
            rate=(len(calls) - 1) / span if span > 0 else 0.0,
        )

    def add_gap(self, gap: Seconds) -> None:
        """A program has come back."""
        self._gaps.append(gap)

    def add_pause(self, rounds: int) -> None:
        """A time-to-live has run out after that many rounds."""
        self._rounds.append(rounds)

    def rounds_ahead(self, most: int) -> int:
        """R, the rounds that an admitted program is granted memory for: 0 until there are calls enough to tell."""
        if not self.full:
            return 0
        return min(max(math.ceil(2 * _mean(self._rounds)), 1), most)

    def ttl(self, restore: Seconds, longest: Seconds) -> Seconds:
        """The fitted time-to-live: 0 until there are gaps enough to tell."""
        gaps = fit(self._gaps) if len(self._gaps) == self.size else None
        return 0.0 if gaps is None else gaps.best_ttl(restore, longest)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _phi(z: float) -> float:
    return (1 + math.erf(z / math.sqrt(2))) / 2
