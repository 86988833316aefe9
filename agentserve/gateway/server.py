"""The gateway as a process: engines, brain and HTTP server, from a configuration to a graceful stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager

import uvicorn
import uvloop

from agentserve.cell.member import Member
from agentserve.cell.shared import Shared
from agentserve.config import Config
from agentserve.dashboard.feed import Feed
from agentserve.dashboard.routes import watching_routes
from agentserve.dashboard.stories import Stories
from agentserve.engines.factory import build_engines, default_logs
from agentserve.engines.supervise import Supervised, Supervisor
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
from agentserve.gateway.recorder import Recorder, RecordingError
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
from scheduler.brain import Brain
from scheduler.events import TenantChanged

CLOSING = 5
"""Seconds that connections have to close when nothing runs on them any more, or nothing may."""

KEEP_ALIVE = 75
"""Seconds an idle connection of a client is kept: longer than clients keep theirs, so that none is used as it closes."""

BACKLOG = 2048
"""Connections that may wait to be accepted."""

logger = logging.getLogger(__name__)


def run(config: Config, listener: socket.socket | None = None) -> int:
    """Serves until interrupted, on a socket that listens already if there is one. Returns the process's exit code: 0, or 2 for what its user has to mend."""
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
            uvloop.run(_serve(config, brain, listener))
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


async def _serve(config: Config, brain: Brain, listener: socket.socket) -> None:
    async with gateway(config, brain, build_engines(config, default_logs())) as app:
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


def virtual_models(config: Config, scoring: Scoring) -> dict[str, VirtualModel]:
    """The virtual models of a configuration, by name."""
    return {each.model: VirtualModel(each.model, each.spec, each.extraction, scoring) for each in config.virtual}


@asynccontextmanager
async def gateway(
    config: Config, brain: Brain, engines: Sequence[Supervised], store: Store | None = None
) -> AsyncIterator[Gateway]:
    """The application with its engines being looked after; on leaving, engines stop and what was learned is saved.

    `engines` are those of `config`, in its order; `store` takes the place of the one that it names.
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
    clock = await store.open() if store else 0.0
    driver = Driver(brain, metrics, records, config.workflows, config.faults, clock)

    def tenants() -> list[TenantChanged]:
        return [TenantChanged(driver.now(), tenant.id, tenant.weight, tenant.tier) for tenant in roster]

    for event in tenants():
        driver.handle(event)
    door = Door(roster, load_keys(config.keys) if config.keys else None)
    pools: dict[str, list[Supervised]] = {}
    for (pool, _), engine in zip(config.engines, engines, strict=True):
        pools.setdefault(pool.model, []).append(engine)
    names = {model: [engine.name for engine in pool] for model, pool in pools.items()}
    scoring = Scoring(driver, {each.target: names[each.target] for each in config.virtual if each.target})
    sections = {pool.model: pool.rollouts for pool in config.pools}
    grounds = {model: Ground(driver, model, pool, sections[model].bound) for model, pool in names.items()}
    watch = WeightsWatch(scoring, {name: grounds[model] for model, pool in names.items() for name in pool})
    supervisors = {engine.name: Supervisor(engine, watch, logger.info) for engine in engines}
    virtual = virtual_models(config, scoring)
    fleet = Fleet(pools, driver, supervisors, ledger, list(virtual))
    driver.metrics.registry.register(Gauges(fleet))
    chain = Chain()
    tasks = [asyncio.create_task(supervisor.run()) for supervisor in supervisors.values()]
    member = recall = None
    if store is not None:
        member = Member(store, config, driver, lives.calls.values, names, tenants)
        lives.watch(member)
        shared = Shared(store, member.name, roster, chain)
        recall = shared.find
        tasks += [asyncio.create_task(member.run()), asyncio.create_task(shared.keep())]
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
        drains = {model: section.drain for model, section in sections.items()}
        rollouts = rollout_routes(driver, config.limits, grounds, drains) if store is None else None
        app = Gateway(fleet, door, inference, Passthrough(driver, names, config.limits), drain, watching, rollouts)
        if member is not None:
            member.attach(app.control, roster.of)
            app.elsewhere = member.ask
        yield app
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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
