"""Prometheus counters and histograms of one event loop: a call touches a score of them, so they take no lock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Child = TypeVar("Child")


class Count:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Adds to it."""
        self.value += amount


class Spread:
    """How many values lie below which bounds."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bound, those that are at most it and more than the one before; then those above all."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Takes one."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class _Labelled(Collector, Generic[Child]):
    """A metric's children by the values of their labels."""

    def __init__(self, name: str, documentation: str, names: Sequence[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._names = names
        self._children: dict[tuple[str, ...], Child] = {}

    def labels(self, *values: str) -> Child:
        """The child with these labels' values."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._new()
        return child

    def _new(self) -> Child:
        raise NotImplementedError


class LabelledCounter(_Labelled[Count]):
    """A counter for each set of labels."""

    def _new(self) -> Count:
        return Count()

    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._names)
        for values, child in self._children.items():
            family.add_metric(values, child.value)
        yield family


class LabelledHistogram(_Labelled[Spread]):
    """A histogram for each set of labels."""

    def __init__(self, name: str, documentation: str, names: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, documentation, names)
        self._bounds = bounds
        self._texts = [*map(floatToGoString, bounds), "+Inf"]

    def _new(self) -> Spread:
        return Spread(self._bounds)

    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._names)
        for values, child in self._children.items():
            counts = accumulate(child.counts)
            family.add_metric(values, list(zip(self._texts, counts, strict=True)), child.total)
        yield family
