"""The gateway's own Prometheus metrics, in a registry of their own."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, ProcessCollector

from agentserve.gateway.counted import LabelledCounter, LabelledHistogram
from agentserve.gateway.lives import Life, Watcher
from scheduler.types import Seconds, Usage
from workloads.traces.recording import CallStatus

SECONDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the histograms of waits and whole calls."""
TOKEN_SECONDS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)
"""Of the time for one output token: from a small model alone to an engine that is thrashing."""
GAP_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 45.0, 90.0, 180.0, 420.0, 900.0, 1800.0)
"""Of gaps: from a tool in the agent's process to a person who approves."""
TOKENS = (64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072, 262144)
"""Of prompts."""
OUTPUTS = (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384)
"""Of answers."""


class Metrics(Watcher):
    """What is counted as calls pass; what is only looked at on a scrape is in `gauges`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.calls = LabelledCounter(
            "agentserve_calls", "Calls that ended, by how.", ["model", "status"], registry=self.registry
        )
        self.identified = LabelledCounter(
            "agentserve_calls_identified", "Calls by what told their program.", ["source"], registry=self.registry
        )
        self.errors = LabelledCounter(
            "agentserve_errors", "Error answers, by HTTP status.", ["status"], registry=self.registry
        )
        self.queue_seconds = self._histogram(
            "agentserve_queue_seconds", "Time from a call's arrival to its dispatch.", SECONDS
        )
        self.ttft_seconds = self._histogram(
            "agentserve_ttft_seconds", "Time from a streamed call's arrival to its first token.", SECONDS
        )
        self.call_seconds = self._histogram(
            "agentserve_call_seconds", "Time from the arrival to the end of calls that got their answer.", SECONDS
        )
        self.token_seconds = self._histogram(
            "agentserve_output_token_seconds",
            "Time for each output token after the first, of streamed calls (TPOT).",
            TOKEN_SECONDS,
        )
        self.gap_seconds = self._histogram(
            "agentserve_gap_seconds", "Time from a program's last answer to its next call.", GAP_SECONDS
        )
        self.prompt_lengths = self._histogram(
            "agentserve_call_prompt_tokens", "Prompt tokens of a call, as engines report them.", TOKENS
        )
        self.output_lengths = self._histogram(
            "agentserve_call_output_tokens", "Output tokens of a call, as engines report them.", OUTPUTS
        )
        self.dispatches = LabelledCounter(
            "agentserve_dispatches",
            "Calls that went to an engine, by why they went there then.",
            ["engine", "why"],
            registry=self.registry,
        )
        self.prompt_tokens = LabelledCounter(
            "agentserve_prompt_tokens", "Prompt tokens, as engines report them.", ["model"], registry=self.registry
        )
        self.cached_tokens = LabelledCounter(
            "agentserve_cached_tokens", "Prompt tokens that were cached.", ["model"], registry=self.registry
        )
        self.output_tokens = LabelledCounter(
            "agentserve_output_tokens", "Output tokens, as engines report them.", ["model"], registry=self.registry
        )
        self.saved_tokens = LabelledCounter(
            "agentserve_virtual_saved_tokens",
            "Tokens that samples of virtual models need not write, because they were ended early; estimated.",
            ["model"],
            registry=self.registry,
        )
        self.engine_seconds = LabelledCounter(
            "agentserve_call_engine_seconds",
            "Time that ended calls were on engines, each call by itself.",
            ["model"],
            registry=self.registry,
        )
        self.cost = LabelledCounter(
            "agentserve_cost", "What ended calls cost by the price table.", ["model"], registry=self.registry
        )
        self.pins = LabelledCounter(
            "agentserve_pins", "What became of pins.", ["engine", "outcome"], registry=self.registry
        )
        self.dispatch_failures = LabelledCounter(
            "agentserve_dispatch_failures",
            "Calls an engine did not take.",
            ["engine", "reason"],
            registry=self.registry,
        )
        self.samples = LabelledCounter(
            "agentserve_rollout_samples",
            "Samples of rollouts that ended, by how.",
            ["model", "finish"],
            registry=self.registry,
        )
        self.stale_groups = LabelledCounter(
            "agentserve_rollout_stale_groups",
            "Groups that were refused because they would be too stale.",
            ["model"],
            registry=self.registry,
        )

    def call_ended(self, life: Life) -> None:
        """Measures a call that is over."""
        arrival, dispatch, usage = life.arrival, life.dispatch, life.usage
        if dispatch is not None:
            self.dispatches.labels(dispatch.engine, dispatch.why.value).inc()
        if life.status is not CallStatus.FINISHED:
            return
        self.call_seconds.labels(arrival.model).observe(life.ended - arrival.at)
        if usage is None:
            return
        self.prompt_lengths.labels(arrival.model).observe(usage.prompt)
        self.output_lengths.labels(arrival.model).observe(usage.output)
        if life.first_token is not None and usage.output > 1:
            self.token_seconds.labels(arrival.model).observe((life.ended - life.first_token) / (usage.output - 1))

    def pin_counts(self) -> dict[str, int]:
        """What has become of pins, on all engines together."""
        counts: dict[str, int] = {}
        for family in self.pins.collect():
            for sample in family.samples:
                if sample.name == "agentserve_pins_total":
                    outcome = sample.labels["outcome"]
                    counts[outcome] = counts.get(outcome, 0) + int(sample.value)
        return counts

    def _histogram(self, name: str, documentation: str, bounds: Sequence[float]) -> LabelledHistogram:
        return LabelledHistogram(name, documentation, ["model"], buckets=bounds, registry=self.registry)

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
