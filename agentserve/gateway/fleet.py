"""The engines behind the gateway, as operators and clients see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentserve.engines.base import Engine
from agentserve.engines.supervise import State, Supervisor
from agentserve.gateway.driver import Driver
from agentserve.gateway.ledger import Ledger
from scheduler.types import EngineId, EngineSpec


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One engine: where it is in its life, and what it is where that is known."""

    name: EngineId
    model: str
    url: str
    state: State
    problem: str
    spec: EngineSpec | None


class Fleet:
    """All pools: model name to engines, with those who look after them."""

    def __init__(
        self,
        pools: Mapping[str, Sequence[Engine]],
        driver: Driver,
        supervisors: Mapping[EngineId, Supervisor],
        ledger: Ledger,
        virtual: Sequence[str] = (),
    ) -> None:
        self.pools = pools
        self.models = (*pools, *virtual)
        """The names that clients may use."""
        self.driver = driver
        self.ledger = ledger
        self._supervisors = supervisors

    def report(self) -> list[EngineReport]:
        """Every engine of every pool."""
        return [self._report(model, engine) for model, pool in self.pools.items() for engine in pool]

    def absent(self) -> list[tuple[EngineId, str, str]]:
        """Engines that have never been up: name, model, and what is the matter with them."""
        reports = [report for report in self.report() if report.spec is None]
        return [(each.name, each.model, f"{each.state}: {each.problem}".rstrip(": ")) for each in reports]

    def _report(self, model: str, engine: Engine) -> EngineReport:
        supervisor = self._supervisors[engine.name]
        spec = self.driver.specs.get(engine.name)
        return EngineReport(engine.name, model, engine.url, supervisor.state, supervisor.problem, spec)

    def missing(self) -> dict[str, list[str]]:
        """The models without an engine that is up, each with what its engines say."""
        reports = {model: self._pool(model) for model in self.pools}
        return {
            model: [f"{report.name} is {report.state}: {report.problem}".rstrip(": ") for report in pool]
            for model, pool in reports.items()
            if not any(report.state is State.UP for report in pool)
        }

    def max_model_len(self, model: str) -> int | None:
        """The longest context an engine of the pool takes, in tokens; None while none has been up, or if it is virtual."""
        pool = self._pool(model) if model in self.pools else []
        return max((report.spec.max_model_len for report in pool if report.spec), default=None)

    def _pool(self, model: str) -> list[EngineReport]:
        return [self._report(model, engine) for engine in self.pools[model]]
