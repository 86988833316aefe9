"""The gateway as a process: engines, brain and HTTP server, from a configuration to a graceful stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager

import uvicorn
import uvloop

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
from agentserve.engines.factory import build_engine, build_engines, build_listed, default_logs
from agentserve.engines.supervise import Supervised
from agentserve.gateway.app import Gateway
from agentserve.gateway.calllines import CallLines
from agentserve.gateway.chain import Chain
from agentserve.gateway.driver import Driver
from agentserve.gateway.eventlog import EventLog
from agentserve.gateway.faults.drain import Drain, DrainingServer
from agentserve.gateway.fleet import Fleet
from agentserve.gateway.gauges import Gauges
from agentserve.gateway.inference import Inference
from agentserve.gateway.ledger import Ledger, Price
from agentserve.gateway.lives import Lives
from agentserve.gateway.metrics import Metrics
from agentserve.gateway.passthrough import Passthrough
from agentserve.gateway.prewarm import Prewarmer
from agentserve.gateway.recorder import Recorder, RecordingError
from agentserve.gateway.reload import Reloader, reload_routes, reloads_on_hang_up
from agentserve.gateway.rollouts.ground import Ground
from agentserve.gateway.rollouts.routes import rollout_routes
from agentserve.gateway.rollouts.watch import WeightsWatch
from agentserve.gateway.state import StateError, keep_state, load_memory, load_state, save_state
from agentserve.gateway.tenants.door import Door, keep_keys
from agentserve.gateway.tenants.keys import KeysError, load_keys
from agentserve.gateway.tenants.meter import Meter
from agentserve.gateway.tenants.roster import Roster
from agentserve.gateway.tracing.factory import TracingError, tracing
from agentserve.gateway.tuner import Tuner
from agentserve.gateway.tuning.errors import TuningError
from agentserve.gateway.virtual.model import VirtualModel
from agentserve.gateway.virtual.scoring import Scoring
from agentserve.state import open_store
from agentserve.state.base import Store, StoreError
from agentserve.state.memory import MemoryStore
from scheduler.brain import Brain
from scheduler.events import TenantChanged, WorkflowDeclared
from scheduler.types import EngineId, Seconds

CLOSING = 5
"""Seconds that connections have to close when nothing runs on them any more, or nothing may."""

KEEP_ALIVE = 75
"""Seconds an idle connection of a client is kept: longer than clients keep theirs, so that none is used as it closes."""

BACKLOG = 2048
"""Connections that may wait to be accepted."""

logger = logging.getLogger(__name__)


def run(config: Config, listener: socket.socket | None = None, read: Callable[[], Config] | None = None) -> int:
    """Serves until interrupted, on a socket that listens already if there is one. `read` reads the configuration again.

    Returns the process's exit code: 0, or 2 for what its user has to mend.
    """
    try:
        brain = Brain(
            config.policy,
            learned=load_state(config.state) if config.state else None,
            idle_timeout=config.program_idle_timeout,
        )
        if config.keys is not None:
            load_keys(config.keys)
        listener = listener or listen(config)
    except (StateError, KeysError, OSError) as error:
        logger.error("%s", error)
        return 2
    try:
        with listener:
            uvloop.run(_serve(config, brain, listener, read))
    except KeyboardInterrupt:
        pass
    except (RecordingError, StoreError, TracingError, TuningError) as error:
        logger.error("%s", error)
        return 2
    return 0


def listen(config: Config) -> socket.socket:
    """The listening socket.

    Raises:
        OSError: the address cannot be used; the message says which and what to do.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # asyncio sends small pieces of a stream without delay only on sockets that name their protocol
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        message = f"cannot listen on {config.listen}: {error.strerror}; choose another address with `listen`"
        raise OSError(message) from error
    return listener


async def _serve(
    config: Config, brain: Brain, listener: socket.socket, read: Callable[[], Config] | None = None
) -> None:
    async with gateway(config, brain, build_engines(config, default_logs()), read=read) as app:
        if read is not None and reloads_on_hang_up():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.hang_up)
        _spare_garbage_collection()
        logger.info("listening on http%s://%s, policy %s", "s" if config.tls else "", config.listen, brain.policy.name)
        await http_server(config, app).serve(sockets=[listener])


def http_server(config: Config, app: Gateway) -> DrainingServer:
    """The server in front of the application."""
    settings = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=CLOSING,
        ssl_certfile=config.tls.certificate if config.tls else None,
        ssl_keyfile=config.tls.key if config.tls else None,
    )
    return DrainingServer(settings, app.drain, config.limits.drain)


def _spare_garbage_collection() -> None:
    """What is there at the start stays: it need not be looked at again, and what comes later less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _opened(store: Store) -> Seconds:
    """The store's clock. One that cannot be used is closed: an event loop does not end with connections of its own."""
    try:
        return await store.open()
    except StoreError:
        await store.close()
        raise


def virtual_models(config: Config, scoring: Scoring) -> dict[str, VirtualModel]:
    """The virtual models of a configuration, by name."""
    return {each.model: VirtualModel(each.model, each.spec, each.answer.extraction, scoring) for each in config.virtual}


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
    log = EventLog(config.event_log, brain) if config.event_log else None
    metrics = Metrics()
    recorder = Recorder(config.record, metrics.registry) if config.record else None
    prices = {model: Price(**price.model_dump()) for model, price in config.prices.items()}
    ledger = Ledger(prices, metrics, config.limits.remembered)
    roster = Roster(config)
    watchers = [metrics, ledger, Meter(roster), *([recorder] if recorder else ())]
    lives = Lives([*watchers, *([CallLines()] if config.log.calls else ())])
    records = [*([log.record] if log else ()), lives.record]
    if store is None and config.store is not None:
        store = open_store(config.store)
    clock = await _opened(store) if store else 0.0
    driver = Driver(brain, metrics, records, config.workflows, config.faults, clock)

    def configured() -> list[TenantChanged | WorkflowDeclared]:
        now = driver.now()
        declared = [WorkflowDeclared(now, workflow.name, workflow.planned) for workflow in config.workflows]
        return [*declared, *(TenantChanged(now, tenant.id, tenant.weight, tenant.tier) for tenant in roster)]

    for event in configured():
        driver.handle(event)
    door = Door(roster, load_keys(config.keys) if config.keys else None)
    scored: dict[str, list[EngineId]] = {}
    scoring = Scoring(driver, scored)
    grounds: dict[str, Ground] = {}
    watch = WeightsWatch(scoring, grounds)
    fleet = Fleet([pool.model for pool in config.pools], driver, watch, ledger)
    scored.update({each.target: fleet.names[each.target] for each in config.virtual if each.target})
    for pool in config.pools:
        grounds[pool.model] = Ground(driver, pool.model, fleet.names[pool.model], pool.rollouts.bound)
    virtual = virtual_models(config, scoring)
    fleet.models += tuple(virtual)
    names = fleet.names
    for (pool, _), engine in zip(config.engines, engines, strict=True):
        fleet.join(pool.model, engine)
    driver.metrics.registry.register(Gauges(fleet, grounds))
    chain = Chain()
    tasks: list[asyncio.Task[None]] = []
    prewarmer = Prewarmer(driver) if config.discovery is not None else None
    member = recall = None
    if store is not None:
        member = Member(store, config, driver, lives.calls.values, names, configured)
        lives.watch(member)
        shared = Shared(store, member.name, roster, chain)
        recall = shared.find
        tasks += [asyncio.create_task(member.run()), asyncio.create_task(shared.keep())]
    reloader = Reloader(config, read, driver, fleet, roster, build)
    if member is not None:
        reloader.told.append(member.take_up)
        member.reload = reloader.on_signal
        reloader.spread = member.spread
    registry = None
    if config.discovery is not None:
        registry = RegistrySource(store or MemoryStore()) if config.discovery.http else None
        sources = build_sources(config.discovery, registry)
        enlisting = Enlisting(sources, fleet, build_listed, config.discovery.drain)
        tasks.append(asyncio.create_task(enlisting.run()))
    if config.state is not None:
        load_memory(config.state, chain, roster)
        tasks.append(asyncio.create_task(keep_state(config.state, brain.learned, chain, roster)))
    if config.keys is not None:
        tasks.append(asyncio.create_task(keep_keys(config.keys, door)))
    opened = ExitStack()
    try:
        if config.tracing is not None:
            lives.watch(opened.enter_context(tracing(config.tracing, driver)))
        tuner = None
        if config.tune is not None and config.record is not None:
            tuner = Tuner(config.tune, config.record, driver, model=config.pools[0].model)
            tasks.append(asyncio.create_task(tuner.run()))
        drain = Drain()
        feed = Feed(driver, lives, fleet.absent, tuner.notes if tuner else tuple, lambda: drain.begun and drain.empty)
        watching = watching_routes(feed.watch, feed.calls, Stories(config.event_log))
        inference = Inference(
            driver, names, config.limits, chain, virtual, keyed=config.keys is not None, recall=recall
        )
        app = Gateway(fleet, door, inference, Passthrough(driver, names, config.limits), drain, watching)
        app.add_control(registration_routes(registry, fleet))
        app.add_control(reload_routes(reloader))
        app.hang_up = reloader.on_signal
        if store is None:
            drains = {pool.model: pool.rollouts.drain for pool in config.pools}
            app.add_control(rollout_routes(driver, config.limits, grounds, drains))
        if member is not None:
            member.attach(app.control, roster.of)
            app.elsewhere = member.ask
        yield app
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await reloader.close()
        await fleet.close()
        if prewarmer is not None:
            await prewarmer.close()
        watch.close()
        scoring.close()
        driver.close()
        opened.close()
        if store is not None:
            await store.close()
        for each in (log, recorder):
            if each is not None:
                each.close()
        if config.state is not None:
            save_state(config.state, brain.learned, chain, roster.spent())
