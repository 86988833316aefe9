"""The plugin's numbers as a Prometheus page.

vLLM's own `/metrics` is served from a registry of the API server's process, which the scheduler does not run in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agentserve.vllm_plugin.reports import Outcome

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Numbers(TypedDict):
    """The part of a control answer that is shown as metrics."""

    protected_tokens: int
    protected_blocks: int
    free_blocks: int
    total_blocks: int
    counters: dict[str, int]


class _Page(Collector):
    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        counters = self._numbers["counters"]
        pins = CounterMetricFamily("agentserve_pins", "Pins by what became of them", labels=["outcome"])
        for outcome in (*Outcome, "released"):
            pins.add_metric([outcome], counters[outcome])
        yield pins
        yield CounterMetricFamily(
            "agentserve_ignored_requests", "Requests whose program, rank or ttl could not be used", counters["ignored"]
        )
        for name, meaning, value in (
            ("protected_tokens", "KV tokens that only pins hold", self._numbers["protected_tokens"]),
            ("protected_blocks", "KV blocks that only pins hold", self._numbers["protected_blocks"]),
            ("free_blocks", "KV blocks no request uses, protected ones included", self._numbers["free_blocks"]),
            ("total_blocks", "KV blocks that requests can have", self._numbers["total_blocks"]),
        ):
            yield GaugeMetricFamily(f"agentserve_{name}", meaning, value)


def render(numbers: Numbers) -> bytes:
    """The page in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Page(numbers))
    return generate_latest(registry)
