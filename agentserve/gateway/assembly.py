"""What a gateway is made of: built in the order in which its parts need each other, and closed in the opposite one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from agentserve.cell.member import Member
from agentserve.cell.shared import Shared
from agentserve.config import Config, EngineSection
from agentserve.dashboard.feed import Feed
from agentserve.dashboard.routes import watching_routes
from agentserve.dashboard.stories import Stories
from agentserve.discovery.enlisting import Enlisting
from agentserve.discovery.registry import RegistrySource
from agentserve.discovery.routes import registration_routes
from agentserve.discovery.sources import build_sources
from agentserve.engines.factory import build_engine, build_listed, default_logs
from agentserve.engines.supervise import Supervised
from agentserve.gateway.app import Gateway
from agentserve.gateway.calllines import CallLines
from agentserve.gateway.chain import Chain
from agentserve.gateway.driver import Driver
from agentserve.gateway.eventlog import EventLog
from agentserve.gateway.faults.drain import Drain
from agentserve.gateway.fleet import Fleet
from agentserve.gateway.gauges import Gauges
from agentserve.gateway.inference import Inference
from agentserve.gateway.ledger import Ledger, Price
from agentserve.gateway.lives import Lives
from agentserve.gateway.metrics import Metrics
from agentserve.gateway.passthrough import Passthrough
from agentserve.gateway.prewarm import Prewarmer
from agentserve.gateway.recorder import Recorder
from agentserve.gateway.reload import Reloader, reload_routes
from agentserve.gateway.rollouts.ground import Ground
from agentserve.gateway.rollouts.routes import rollout_routes
from agentserve.gateway.rollouts.watch import WeightsWatch
from agentserve.gateway.state import keep_state, load_memory, save_state
from agentserve.gateway.tenants.door import Door, keep_keys
from agentserve.gateway.tenants.keys import load_keys
from agentserve.gateway.tenants.meter import Meter
from agentserve.gateway.tenants.roster import Roster
from agentserve.gateway.threshold import Threshold
from agentserve.gateway.tracing.factory import tracing
from agentserve.gateway.tuner import Tuner
from agentserve.gateway.virtual.model import VirtualModel
from agentserve.gateway.virtual.scoring import Scoring
from agentserve.state import open_store
from agentserve.state.base import Store, StoreError
from agentserve.state.memory import MemoryStore
from scheduler.brain import Brain
from scheduler.events import TenantChanged, WorkflowDeclared
from scheduler.types import EngineId, Seconds

logger = logging.getLogger(__name__)


def build_anew(section: EngineSection, model: str) -> Supervised:
    """An engine that comes with a configuration that was read again."""
    return build_engine(section, model, default_logs())


@asynccontextmanager
async def gateway(
    config: Config,
    brain: Brain,
    engines: Sequence[Supervised],
    store: Store | None = None,
    read: Callable[[], Config] | None = None,
    build: Callable[[EngineSection, str], Supervised] = build_anew,
) -> AsyncIterator[Gateway]:
    """The application with its engines being looked after; on leaving, engines stop and what was learned is saved.

    `engines` are those of `config`, in its order; `store` takes the place of the one that it names. `read` reads the
    configuration again, and `build` makes the engines that come with it.
    """
    async with AsyncExitStack() as stack:
        notes = _Notes(config, brain)
        stack.callback(notes.close)
        if store is None and config.store is not None:
            store = open_store(config.store)
        driver = await _driver(config, brain, notes, store, stack)
        pools = _pools(config, driver, notes.ledger, stack)
        for (pool, _), engine in zip(config.engines, engines, strict=True):
            pools.fleet.join(pool.model, engine)
        reloader = Reloader(config, read, driver, pools.fleet, notes.roster, build)
        stack.push_async_callback(reloader.close)
        tasks = _Tasks()
        stack.push_async_callback(tasks.end)
        member = recall = None
        if store is not None:
            member = _join_cell(config, store, driver, pools.fleet, notes, reloader)
            shared = Shared(store, member.name, notes.roster, notes.chain)
            recall = shared.find
            tasks.begin(member.run())
            tasks.begin(shared.keep())
        registry = _discover(config, store, pools.fleet, tasks)
        door = Door(notes.roster, load_keys(config.keys) if config.keys else None)
        if config.keys is not None:
            tasks.begin(keep_keys(config.keys, door))
        if config.state is not None:
            tasks.begin(keep_state(config.state, brain.learned, notes.chain, notes.roster))
        tuner = None
        if config.tune is not None and config.record is not None:
            tuner = Tuner(config.tune, config.record, driver, model=config.pools[0].model)
            tasks.begin(tuner.run())
        drain, fleet = Drain(), pools.fleet
        feed = Feed(
            driver, notes.lives, fleet.absent, tuner.notes if tuner else tuple, lambda: drain.begun and drain.empty
        )
        watching = watching_routes(feed.watch, feed.calls, Stories(config.event_log))
        keyed = config.keys is not None
        inference = Inference(
            driver,
            fleet.names,
            config.limits,
            notes.chain,
            pools.virtual,
            keyed=keyed,
            recall=recall,
            threshold=Threshold(driver, fleet.names, fleet.held, config.limits.total),
        )
        app = Gateway(fleet, door, inference, Passthrough(driver, fleet.names, config.limits), drain, watching)
        app.add_control(registration_routes(registry, fleet))
        app.add_control(reload_routes(reloader))
        app.hang_up = reloader.on_signal
        if member is None:
            drains = {pool.model: pool.rollouts.drain for pool in config.pools}
            app.add_control(rollout_routes(driver, config.limits, pools.grounds, drains, drain))
        else:
            member.attach(app.control, notes.roster.of)
            app.elsewhere = member.ask
        yield app


class _Notes:
    """Who there is, and all that is written down of what they do."""

    def __init__(self, config: Config, brain: Brain) -> None:
        """Raises what the files that it reads and writes do."""
        self.chain = Chain()
        self.roster = Roster(config)
        if config.state is not None:
            load_memory(config.state, self.chain, self.roster)
        self.metrics = Metrics()
        prices = {model: Price(**price.model_dump()) for model, price in config.prices.items()}
        self.ledger = Ledger(prices, self.metrics, config.limits.remembered)
        self._log = EventLog(config.event_log, brain) if config.event_log else None
        self._recorder = Recorder(config.record, self.metrics.registry) if config.record else None
        watchers = [self.metrics, self.ledger, Meter(self.roster), *([self._recorder] if self._recorder else ())]
        self.lives = Lives([*watchers, *([CallLines()] if config.log.calls else ())])
        self.records = [*([self._log.record] if self._log else ()), self.lives.record]
        self._state, self._learned = config.state, brain.learned

    def close(self) -> None:
        """Writes down what is left to be."""
        for each in (self._log, self._recorder):
            if each is not None:
                each.close()
        if self._state is not None:
            save_state(self._state, self._learned, self.chain, self.roster.spent())


class _Tasks:
    """What a gateway does in the background."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, work: Coroutine[object, object, None]) -> None:
        """Does it until the end."""
        task = asyncio.create_task(work)
        task.add_done_callback(_tell)
        self._tasks.append(task)

    async def end(self) -> None:
        """Ends all of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("a fault of ours ended a part of the gateway, please report it", exc_info=task.exception())


async def _driver(config: Config, brain: Brain, notes: _Notes, store: Store | None, stack: AsyncExitStack) -> Driver:
    """The brain's driver, which has told it of tenants and workflows."""
    clock: Seconds = 0.0
    if store is not None:
        clock = await _opened(store)
        stack.push_async_callback(store.close)
    driver = Driver(brain, notes.metrics, notes.records, config.workflows, config.faults, clock)
    if config.tracing is not None:
        notes.lives.watch(stack.enter_context(tracing(config.tracing, driver)))
    stack.callback(driver.close)
    for event in _configured(config, notes.roster, driver):
        driver.handle(event)
    return driver


def _configured(config: Config, roster: Roster, driver: Driver) -> list[TenantChanged | WorkflowDeclared]:
    """What every brain has to be told of the configuration."""
    now = driver.now()
    declared = [WorkflowDeclared(now, workflow.name, workflow.planned) for workflow in config.workflows]
    return [*declared, *(TenantChanged(now, tenant.id, tenant.weight, tenant.tier) for tenant in roster)]


async def _opened(store: Store) -> Seconds:
    """The store's clock. One that cannot be used is closed: an event loop does not end with connections of its own."""
    try:
        return await store.open()
    except StoreError:
        await store.close()
        raise


@dataclass(frozen=True, slots=True)
class _Pools:
    """The engines, and what is made of them."""

    fleet: Fleet
    grounds: dict[str, Ground]
    virtual: dict[str, VirtualModel]


def _pools(config: Config, driver: Driver, ledger: Ledger, stack: AsyncExitStack) -> _Pools:
    """The pools, which have no engines yet."""
    scored: dict[str, list[EngineId]] = {}
    scoring = Scoring(driver, scored)
    stack.callback(scoring.close)
    grounds: dict[str, Ground] = {}
    watch = WeightsWatch(scoring, grounds)
    stack.callback(watch.close)
    if config.discovery is not None:
        stack.push_async_callback(Prewarmer(driver).close)
    fleet = Fleet([pool.model for pool in config.pools], driver, watch, ledger)
    fleet.held.update({pool.model: 0 for pool in config.pools if pool.on_demand})
    stack.push_async_callback(fleet.close)
    scored.update({each.target: fleet.names[each.target] for each in config.virtual if each.target})
    for pool in config.pools:
        grounds[pool.model] = Ground(driver, pool.model, fleet.names[pool.model], pool.rollouts.bound)
    virtual = {
        each.model: VirtualModel(each.model, each.spec, each.answer.extraction, scoring) for each in config.virtual
    }
    fleet.models += tuple(virtual)
    driver.metrics.registry.register(Gauges(fleet, grounds))
    return _Pools(fleet, grounds, virtual)


def _join_cell(config: Config, store: Store, driver: Driver, fleet: Fleet, notes: _Notes, reloader: Reloader) -> Member:
    """The gateway as one of several that share the store."""

    def configured() -> list[TenantChanged | WorkflowDeclared]:
        return _configured(config, notes.roster, driver)

    member = Member(store, config, driver, notes.lives.calls.values, fleet.names, configured)
    notes.lives.watch(member)
    reloader.told.append(member.take_up)
    member.reload = reloader.on_signal
    reloader.spread = member.spread
    return member


def _discover(config: Config, store: Store | None, fleet: Fleet, tasks: _Tasks) -> RegistrySource | None:
    """Engines that are found from now on, and those that register; None where they may not."""
    if config.discovery is None:
        return None
    registry = RegistrySource(store or MemoryStore()) if config.discovery.http else None
    enlisting = Enlisting(build_sources(config.discovery, registry), fleet, build_listed, config.discovery.drain)
    tasks.begin(enlisting.run())
    return registry
