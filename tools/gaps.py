"""How long a program's gap lasts, learned per tenant and tool from the gaps that have ended.

A tool's distribution is the empirical one of its latest samples, shrunk to that of all the tenant's tools, and that
to the published prior; each counts as a few samples, so that it matters only while there are few. Survival is above
zero at any time that can be meant: a gap may always last longer than all seen before.

Tools called in parallel count as their slowest: a set's gap ends within t as often as that of the tool of the set
which ends within t least often. A gap after a set counts as one of the tool that most often lasts that long.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import NamedTuple, TypedDict, TypeVar

from tools import prior
from tools.names import UNKNOWN, clip
from tools.window import SampleWindow

WINDOW = 512
"""Samples kept of a tool, and of all tools of a tenant."""
WEIGHT = 4.0
"""How many samples the distribution that a tool is shrunk to counts for."""
MAX_TOOLS = 1024
"""How many tools, over all tenants, and how many tenants are remembered; who was seen longest ago goes first."""

POINTS = 20
PRIOR_POINTS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Points of a tool's curve: how many quantiles of the samples, and which ones of the prior."""

_NO_SAMPLES = SampleWindow(0)
_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")


class CurvePoint(NamedTuple):
    """One point of the distribution of gaps: `share` of them end within `seconds`; `mean` is E[min(gap, seconds)]."""

    seconds: float
    share: float
    mean: float


class SavedWindow(TypedDict):
    """One window as plain data. `samples` are in seconds, oldest first; without `tool` it is the tenant's whole."""

    tenant: str
    tool: str | None
    count: int
    samples: list[float]


class SavedGaps(TypedDict):
    """The whole model as plain data, each list in the order in which its windows will be forgotten."""

    tenants: list[SavedWindow]
    tools: list[SavedWindow]


class GapModel:
    """The gaps of all tenants' tools. Times are in seconds; a tool is its name, "" where it is not known.

    `tools` is always the set of tools that one response called; an empty one is the unknown tool.
    """

    def __init__(self) -> None:
        self._tools: OrderedDict[tuple[str, str], SampleWindow] = OrderedDict()
        self._tenants: OrderedDict[str, SampleWindow] = OrderedDict()
        self._quantiles: dict[tuple[str, tuple[str, ...], float], tuple[float, int]] = {}
        """Quantiles that were asked for, each with the count of the tenant's gaps up to which it is used again."""
        self._curves: dict[tuple[str, tuple[str, ...]], tuple[tuple[CurvePoint, ...], int]] = {}

    def observe(self, tenant: str, tools: Sequence[str], seconds: float) -> None:
        """Learns that a gap after `tools` lasted `seconds`.

        Raises:
            ValueError: `seconds` is negative or not finite.
        """
        if not (seconds >= 0 and isfinite(seconds)):
            raise ValueError(f"a gap lasts a finite number of seconds and not less than zero, not {seconds}")
        tool = clip(self._credited(tenant, tools, seconds))
        _touch(self._tools, (tenant, tool)).add(seconds)
        _touch(self._tenants, tenant).add(seconds)

    def cdf(self, tenant: str, tools: Sequence[str], seconds: float) -> float:
        """The probability that a gap after `tools` ends within `seconds`."""
        return _cdf(self._owns(tenant, tools), self._whole(tenant).ordered, seconds)

    def returns_within(self, tenant: str, tools: Sequence[str], seconds: float, lasted: float = 0.0) -> float:
        """The probability that a gap which has lasted `lasted` seconds ends within the next `seconds`."""
        owns, whole = self._owns(tenant, tools), self._whole(tenant).ordered
        before = _cdf(owns, whole, lasted)
        if before >= 1.0:
            return 0.0
        return (_cdf(owns, whole, lasted + seconds) - before) / (1.0 - before)

    def quantile(self, tenant: str, tools: Sequence[str], share: float) -> float:
        """The seconds within which `share` of the gaps after `tools` end, as of up to a sixteenth of the gaps ago.

        Raises:
            ValueError: `share` is not between 0 and 1, both excluded.
        """
        if not 0 < share < 1:
            raise ValueError(f"a quantile's share lies between 0 and 1, both excluded, not at {share}")

        def make() -> float:
            whole = self._whole(tenant).ordered
            return max(_quantile(own, whole, share) for own in self._owns(tenant, tools))

        return self._again(self._quantiles, (tenant, tuple(tools), share), tenant, make)

    def curve(self, tenant: str, tools: Sequence[str]) -> tuple[CurvePoint, ...]:
        """The distribution of gaps after `tools` at some points of it, as of up to a sixteenth of the gaps ago.

        Gaps between two points count as if they ended at the later one. Those who weigh holding on against letting go look for the best
        point; the points are quantiles of the samples and of the prior.
        """
        return self._again(self._curves, (tenant, tuple(tools)), tenant, lambda: self._curve(tenant, tools))

    def _again(
        self, answers: dict[_Key, tuple[_Answer, int]], asked: _Key, tenant: str, make: Callable[[], _Answer]
    ) -> _Answer:
        """The answer that was given before, unless a sixteenth more of the tenant's gaps have ended since."""
        count = self.total(tenant)
        known = answers.get(asked)
        if known is None or count >= known[1]:
            if len(answers) >= MAX_TOOLS:
                answers.clear()
            known = answers[asked] = make(), count + 1 + count // 16
        return known[0]

    def _curve(self, tenant: str, tools: Sequence[str]) -> tuple[CurvePoint, ...]:
        owns, whole = self._owns(tenant, tools), self._whole(tenant).ordered
        samples = max(owns, key=len) or whole
        points = {prior.quantile(share) for share in PRIOR_POINTS}
        if samples:
            points.update(samples[(number * (len(samples) - 1)) // POINTS] for number in range(1, POINTS + 1))
        found: list[CurvePoint] = []
        seconds = share = mean = 0.0
        for point in sorted(points):
            later = _cdf(owns, whole, point)
            mean += (point - seconds) * (1.0 - share)
            seconds, share = point, later
            found.append(CurvePoint(seconds, share, mean))
        return tuple(found)

    def mean(self, tenant: str, tools: Sequence[str]) -> float:
        """The mean gap after `tools`: of a set, that of the tool whose mean is greatest."""
        whole = self._whole(tenant)
        shrunk = (whole.sum + WEIGHT * prior.MEAN) / (len(whole.ordered) + WEIGHT)
        windows = [self._window(tenant, tool) for tool in tools or (UNKNOWN,)]
        return max((window.sum + WEIGHT * shrunk) / (len(window.ordered) + WEIGHT) for window in windows)

    def slowest(self, tenant: str, tools: Sequence[str]) -> str:
        """The tool of the set with the greatest median; the first of several."""
        if len(tools) <= 1:
            return tools[0] if tools else UNKNOWN
        return max(tools, key=lambda tool: self.quantile(tenant, (tool,), 0.5))

    def samples(self, tenant: str, tool: str) -> Sequence[float]:
        """The latest gaps after the tool itself, ascending: what was seen, without any prior."""
        return tuple(self._window(tenant, tool).ordered)

    def all_samples(self, tenant: str) -> Sequence[float]:
        """The latest gaps after any of the tenant's tools, ascending."""
        return tuple(self._whole(tenant).ordered)

    def count(self, tenant: str, tool: str) -> int:
        """How many gaps after the tool were observed, since it was last forgotten."""
        return self._window(tenant, tool).count

    def total(self, tenant: str) -> int:
        """How many gaps after any of the tenant's tools were observed."""
        return self._whole(tenant).count

    def to_json(self) -> SavedGaps:
        """The model as plain data that JSON can hold; `from_json` of it gives the same answers to the last bit."""
        return {
            "tenants": [_save(tenant, None, window) for tenant, window in self._tenants.items()],
            "tools": [_save(tenant, tool, window) for (tenant, tool), window in self._tools.items()],
        }

    @classmethod
    def from_json(cls, saved: SavedGaps) -> GapModel:
        """The model that `to_json` saved."""
        model = cls()
        for window in saved["tenants"]:
            model._tenants[window["tenant"]] = _load(window)
        for window in saved["tools"]:
            model._tools[window["tenant"], window["tool"] or UNKNOWN] = _load(window)
        return model

    def _window(self, tenant: str, tool: str) -> SampleWindow:
        window = self._tools.get((tenant, tool))
        return window or self._tools.get((tenant, clip(tool)), _NO_SAMPLES)

    def _whole(self, tenant: str) -> SampleWindow:
        return self._tenants.get(tenant, _NO_SAMPLES)

    def _owns(self, tenant: str, tools: Sequence[str]) -> list[list[float]]:
        return [self._window(tenant, tool).ordered for tool in tools or (UNKNOWN,)]

    def _credited(self, tenant: str, tools: Sequence[str], seconds: float) -> str:
        """The tool of the set that most often lasts longer than half of `seconds`."""
        if len(tools) <= 1:
            return tools[0] if tools else UNKNOWN
        return min(tools, key=lambda tool: self.cdf(tenant, (tool,), seconds / 2))


def _cdf(owns: Sequence[list[float]], whole: list[float], seconds: float) -> float:
    shrunk = (bisect_right(whole, seconds) + WEIGHT * prior.cdf(seconds)) / (len(whole) + WEIGHT)
    least = 1.0
    for own in owns:
        share = (bisect_right(own, seconds) + WEIGHT * shrunk) / (len(own) + WEIGHT)
        if share < least:
            least = share
    return least


def _quantile(own: list[float], whole: list[float], share: float) -> float:
    """The sample at which one tool's distribution jumps past `share`, or the point of the prior between two samples."""
    low, high = 0.0, inf
    for samples in (own, whole):
        after = bisect_left(samples, share, key=lambda seconds: _cdf((own,), whole, seconds))
        low = max(low, samples[after - 1]) if after else low
        high = min(high, samples[after]) if after < len(samples) else high
    shrunk = (share * (len(own) + WEIGHT) - bisect_right(own, low)) / WEIGHT
    between = (shrunk * (len(whole) + WEIGHT) - bisect_right(whole, low)) / WEIGHT
    return high if between >= 1 else min(high, max(low, prior.quantile(between)))


def _touch(windows: OrderedDict[_Key, SampleWindow], key: _Key) -> SampleWindow:
    """The window of `key`, new if need be, as the one seen last."""
    window = windows.get(key)
    if window is None:
        window = windows[key] = SampleWindow(WINDOW)
        if len(windows) > MAX_TOOLS:
            windows.popitem(last=False)
    else:
        windows.move_to_end(key)
    return window


def _save(tenant: str, tool: str | None, window: SampleWindow) -> SavedWindow:
    return {"tenant": tenant, "tool": tool, "count": window.count, "samples": list(window.arrived)}


def _load(saved: SavedWindow) -> SampleWindow:
    return SampleWindow(WINDOW, saved["samples"], saved["count"])
