"""Metrics that are looked at only when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from agentserve.gateway.fleet import Fleet
from agentserve.gateway.rollouts.ground import Ground


class Gauges(Collector):
    """The present state of the brain and of the engines."""

    def __init__(self, fleet: Fleet, grounds: Mapping[str, Ground]) -> None:
        """`grounds` are those of the models."""
        self._fleet = fleet
        self._grounds = grounds

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Reads everything now."""
        brain = self._fleet.driver.brain
        yield GaugeMetricFamily("agentserve_programs", "Programs that have not ended.", value=len(brain.programs))
        gaps = sum(program.gap_since is not None for program in brain.programs.values())
        yield GaugeMetricFamily("agentserve_programs_in_gap", "Programs without a call now.", value=gaps)
        yield GaugeMetricFamily("agentserve_calls_waiting", "Calls held by the gateway.", value=brain.waiting)
        yield self._engines_up()
        running = GaugeMetricFamily("agentserve_engine_running", "Calls dispatched to the engine.", labels=["engine"])
        members = GaugeMetricFamily(
            "agentserve_engine_programs", "Programs whose memory is reserved on the engine.", labels=["engine"]
        )
        queued = GaugeMetricFamily(
            "agentserve_engine_queued", "Requests that wait inside the engine, at the latest scrape.", labels=["engine"]
        )
        capacity = GaugeMetricFamily("agentserve_engine_kv_tokens", "KV tokens the engine has.", labels=["engine"])
        free = GaugeMetricFamily(
            "agentserve_engine_free_kv_tokens", "KV tokens free by our account.", labels=["engine"]
        )
        drift = GaugeMetricFamily(
            "agentserve_account_drift_tokens",
            "Our count of the running calls' KV tokens minus the engine's.",
            labels=["engine"],
        )
        for engine in brain.engines.values():
            running.add_metric([engine.id], len(engine.running))
            members.add_metric([engine.id], len(engine.members))
            queued.add_metric([engine.id], engine.queued)
            capacity.add_metric([engine.id], engine.account.capacity)
            free.add_metric([engine.id], engine.free)
            drift.add_metric([engine.id], engine.drift)
        yield from (running, members, queued, capacity, free, drift)
        yield from self._weights()

    def _weights(self) -> Iterator[GaugeMetricFamily]:
        latest = GaugeMetricFamily(
            "agentserve_weights_version", "The latest version of the model's weights.", labels=["model"]
        )
        there = GaugeMetricFamily(
            "agentserve_engine_weights_version", "The version of the engine's weights.", labels=["engine", "model"]
        )
        for model, ground in self._grounds.items():
            latest.add_metric([model], ground.versions.latest)
            for engine in ground.engines:
                there.add_metric([engine, model], ground.versions.of(engine))
        yield from (latest, there)

    def _engines_up(self) -> GaugeMetricFamily:
        up = GaugeMetricFamily("agentserve_engine_up", "1 if the engine takes calls.", labels=["engine", "model"])
        for report in self._fleet.report():
            up.add_metric([report.name, report.model], float(report.name in self._fleet.driver.engines))
        return up
