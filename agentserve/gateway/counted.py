"""Prometheus metrics that look their labels up once: a call touches a score of them."""

from __future__ import annotations

from typing import Any, Self

from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase


class _Remembering(MetricWrapperBase):
    """Remembers its children by the values of their labels."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._known: dict[tuple[Any, ...], Self] = {}
        super().__init__(*arguments, **options)

    def labels(self, *values: Any, **names: Any) -> Self:
        """The child with these labels' values."""
        if names:
            return super().labels(*values, **names)
        child = self._known.get(values)
        if child is None:
            child = self._known[values] = super().labels(*values)
        return child


class LabelledCounter(_Remembering, Counter):
    """A counter."""


class LabelledHistogram(_Remembering, Histogram):
    """A histogram."""
