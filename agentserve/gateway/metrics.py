"""The gateway's own Prometheus metrics, in a registry of their own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from scheduler.types import Seconds, Usage

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the histograms of time."""


class Metrics:
    """What is counted as calls pass; what is only looked at on a scrape is in `gauges`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter(
            "agentserve_calls", "Calls that ended, by how.", ["model", "status"], registry=self.registry
        )
        self.identified = Counter(
            "agentserve_calls_identified", "Calls by what told their program.", ["source"], registry=self.registry
        )
        self.errors = Counter("agentserve_errors", "Error answers, by HTTP status.", ["status"], registry=self.registry)
        self.queue_seconds = Histogram(
            "agentserve_queue_seconds",
            "Time from a call's arrival to its dispatch.",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.ttft_seconds = Histogram(
            "agentserve_ttft_seconds",
            "Time from a streamed call's arrival to its first token.",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.prompt_tokens = Counter(
            "agentserve_prompt_tokens", "Prompt tokens, as engines report them.", ["model"], registry=self.registry
        )
        self.cached_tokens = Counter(
            "agentserve_cached_tokens", "Prompt tokens that were cached.", ["model"], registry=self.registry
        )
        self.output_tokens = Counter(
            "agentserve_output_tokens", "Output tokens, as engines report them.", ["model"], registry=self.registry
        )
        self.engine_seconds = Counter(
            "agentserve_call_engine_seconds",
            "Time that ended calls were on engines, each call by itself.",
            ["model"],
            registry=self.registry,
        )
        self.cost = Counter(
            "agentserve_cost", "What ended calls cost by the price table.", ["model"], registry=self.registry
        )
        self.pins = Counter("agentserve_pins", "What became of pins.", ["engine", "outcome"], registry=self.registry)
        self.dispatch_failures = Counter(
            "agentserve_dispatch_failures",
            "Calls an engine did not take.",
            ["engine", "reason"],
            registry=self.registry,
        )

    def count_tokens(self, model: str, usage: Usage) -> None:
        """Counts what a finished call took."""
        self.prompt_tokens.labels(model).inc(usage.prompt)
        self.output_tokens.labels(model).inc(usage.output)
        if usage.cached is not None:
            self.cached_tokens.labels(model).inc(usage.cached)

    def count_cost(self, model: str, on_engines: Seconds, cost: float) -> None:
        """Counts what a call that has ended, in whatever way, cost."""
        self.engine_seconds.labels(model).inc(on_engines)
        if cost:
            self.cost.labels(model).inc(cost)
