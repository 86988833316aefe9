"""The engines behind the gateway, as operators and clients see them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from agentserve.engines.base import Engine
from agentserve.engines.supervise import State, Supervised, Supervisor, Watcher
from agentserve.gateway.driver import Driver
from agentserve.gateway.ledger import Ledger
from scheduler.types import EngineId, EngineSpec, Seconds

NO_LABELS: Mapping[str, str] = MappingProxyType({})

LOOK: Seconds = 0.1
"""Between two looks at engines that start."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One engine: where it is in its life, and what it is where that is known."""

    name: EngineId
    model: str
    url: str
    state: State
    problem: str
    spec: EngineSpec | None
    labels: Mapping[str, str]
    leaving: bool


class Fleet:
    """All pools: model name to engines, with those who look after them. Engines may join and leave at any time."""

    def __init__(self, models: Sequence[str], driver: Driver, watcher: Watcher, ledger: Ledger) -> None:
        """`models` are the pools; `watcher` is told of engines' ups and downs."""
        self.pools: dict[str, list[Supervised]] = {model: [] for model in models}
        self.names: dict[str, list[EngineId]] = {model: [] for model in models}
        """The engines of each pool that take calls, where they are up."""
        self.models: tuple[str, ...] = tuple(models)
        """The names that clients may use."""
        self.held: dict[str, int] = {}
        """Of each pool that starts engines on demand, how many calls are held until it has one."""
        self.driver = driver
        self.ledger = ledger
        self.problems: Mapping[str, str] = {}
        """What is the matter with lists of engines."""
        self._watcher = watcher
        self._supervisors: dict[EngineId, Supervisor] = {}
        self._labels: dict[EngineId, Mapping[str, str]] = {}
        self._tasks: dict[EngineId, asyncio.Task[None]] = {}

    def add_pool(self, model: str, *, on_demand: bool = False) -> None:
        """There may be engines for that name from now on."""
        if on_demand:
            self.held.setdefault(model, 0)
        else:
            self.held.pop(model, None)
        if model not in self.pools:
            self.pools[model], self.names[model] = [], []
            self.models = (*self.models, model)

    def remove_pool(self, model: str) -> None:
        """Clients may not use that name any more. Its engines have left."""
        if not self.pools.get(model, [model]):
            del self.pools[model], self.names[model]
            self.held.pop(model, None)
            self.models = tuple(name for name in self.models if name != model)

    def join(self, model: str, engine: Supervised, labels: Mapping[str, str] = NO_LABELS) -> None:
        """An engine joins a pool: it is brought up, and looked after from now on."""
        self.pools[model].append(engine)
        self.names[model].append(engine.name)
        self._labels[engine.name] = labels
        supervisor = self._supervisors[engine.name] = Supervisor(engine, self._watcher, logger.info)
        self._tasks[engine.name] = asyncio.create_task(supervisor.run())

    async def leave(self, name: EngineId, limit: Seconds) -> None:
        """An engine leaves, and when those that start beside it are up it gets no more calls.

        Calls that it runs end and its programs move, each of the two waits for `limit` seconds at most.
        """
        model = next(model for model, pool in self.pools.items() if any(engine.name == name for engine in pool))
        engine = next(engine for engine in self.pools[model] if engine.name == name)
        await self._await_others(model, name, limit)
        self.names[model].remove(name)
        try:
            await self.driver.drain(engine, limit)
        finally:
            self._tasks[name].cancel()
            await asyncio.gather(self._tasks[name], return_exceptions=True)
            if name in self.driver.engines:
                self.driver.engine_down(engine, "it has left")
            self.driver.leaving.discard(name)
            self.pools[model].remove(engine)
            for table in (self._tasks, self._supervisors, self._labels):
                table.pop(name)

    async def _await_others(self, model: str, name: EngineId, limit: Seconds) -> None:
        """One that is up leaves no gap where another is starting."""
        until = self.driver.now() + limit

        def starting() -> bool:
            states = {self._supervisors[other].state for other in self.names[model] if other != name}
            return bool(states & {State.STARTING, State.STOPPED})

        while name in self.driver.engines and starting() and self.driver.now() < until:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(LOOK)

    async def close(self) -> None:
        """Stops looking after engines, and stops those that are ours."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
        labels, leaving = self._labels[engine.name], engine.name in self.driver.leaving
        return EngineReport(
            engine.name, model, engine.url, supervisor.state, supervisor.problem, spec, dict(labels), leaving
        )

    def at_zero(self) -> dict[str, int]:
        """The models that start engines on demand and have none, each with how many calls are held for one."""
        up = self.driver.engines
        return {model: held for model, held in self.held.items() if not any(name in up for name in self.names[model])}

    def missing(self) -> dict[str, list[str]]:
        """The models without an engine that is up, each with what its engines say; without those that have none on purpose."""
        reports = {model: self._pool(model) for model in self.pools if model not in self.held}
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
