"""A configuration that is read again while the gateway serves: policy, tenants and pools, without an end to any call."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from fastapi import APIRouter, Depends

from agentserve.config import Config, ConfigError, EngineSection
from agentserve.engines.supervise import Supervised
from agentserve.gateway.control import operator
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import ApiError
from agentserve.gateway.fleet import Fleet
from agentserve.gateway.tenants.roster import Roster
from scheduler.events import PolicyChanged, TenantChanged
from scheduler.types import EngineId

LIVE = frozenset({"policy", "tenants", "allow", "pools"})
"""The keys that are taken up. All others say how the process was started."""

logger = logging.getLogger(__name__)


def reloads_on_hang_up() -> bool:
    """Whether SIGHUP means this. A terminal that is closed sends it too: what was started there ends with it."""
    return not os.isatty(0)


class ReloadError(Exception):
    """Nothing has changed. The message says why and what to do."""


@dataclass(slots=True)
class Reloaded:
    """What a reload came to."""

    changed: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    leaving: list[str] = field(default_factory=list)
    after_restart: list[str] = field(default_factory=list)
    """Keys that have changed and are taken up by a restart only."""


class Reloader:
    """Takes up what has changed in the file."""

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config] | None,
        driver: Driver,
        fleet: Fleet,
        roster: Roster,
        build: Callable[[EngineSection, str], Supervised],
    ) -> None:
        """`read` reads the file again, as it was read at the start; None if there was none. `build` makes an engine."""
        self.config = config
        self.told: list[Callable[[Config], None]] = []
        """Who else has to know a new configuration."""
        self.spread: Callable[[], int] = lambda: 0
        """Has the other gateways of the cell reload too; returns how many were told."""
        self._read = read
        self._driver = driver
        self._fleet = fleet
        self._roster = roster
        self._build = build
        self._leaving: set[asyncio.Task[None]] = set()

    def reload(self) -> Reloaded:
        """Takes it up, or leaves all as it was.

        Raises:
            ReloadError: there is no file, or it cannot be used.
        """
        if self._read is None:
            raise ReloadError("this gateway was started without a configuration file; there is nothing to read again")
        try:
            config = self._read()
        except ConfigError as error:
            raise ReloadError(f"the configuration of before goes on: {error}") from error
        self._check(config)
        before, self.config = self.config, config
        done = Reloaded(after_restart=_frozen(before, config))
        done.changed = sorted(key for key in LIVE if getattr(before, key) != getattr(config, key))
        for tell in self.told:
            tell(config)
        if "policy" in done.changed and self._driver.standing in ("", "here"):
            self._driver.handle(PolicyChanged(self._driver.now(), config.policy))
        if {"tenants", "allow"} & set(done.changed):
            self._change_tenants(config)
        if "pools" in done.changed:
            self._change_pools(before, config, done)
        logger.info("the configuration was read again: %s", ", ".join(done.changed) or "nothing has changed")
        if done.after_restart:
            logger.warning("restart the gateway to take up: %s", ", ".join(done.after_restart))
        return done

    def on_signal(self) -> None:
        """Reloads, and says in the log what came of it."""
        try:
            self.reload()
        except ReloadError as error:
            logger.error("%s", error)

    async def close(self) -> None:
        """Waits for no engine that leaves any more."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _check(self, config: Config) -> None:
        """Raises `ReloadError` for what can be wrong only with a gateway that runs."""
        ours = {section.name for _, section in self.config.engines}
        here = {str(report.name) for report in self._fleet.report()}
        for _, section in config.engines:
            if section.name in here - ours:
                raise ReloadError(
                    f"the configuration of before goes on: engine {section.name!r} is leaving, or was discovered;"
                    " choose another name, or wait until it has left"
                )

    def _change_tenants(self, config: Config) -> None:
        self._roster.change(config)
        if self._driver.standing in ("", "here"):
            for tenant in self._roster:
                self._driver.handle(TenantChanged(self._driver.now(), tenant.id, tenant.weight, tenant.tier))

    def _change_pools(self, before: Config, config: Config, done: Reloaded) -> None:
        old = {section.name: (pool.model, section) for pool, section in before.engines}
        new = {section.name: (pool.model, section) for pool, section in config.engines}
        for pool in config.pools:
            self._fleet.add_pool(pool.model, on_demand=pool.on_demand)
        for name, (model, section) in old.items():
            if new.get(name) != (model, section):
                done.leaving.append(name)
        for name, (model, section) in new.items():
            if old.get(name) != (model, section):
                done.joined.append(name)
                if name not in old:
                    self._fleet.join(model, self._build(section, model))
        gone = [pool.model for pool in before.pools if pool.model not in {pool.model for pool in config.pools}]
        task = asyncio.create_task(self._replace(done.leaving, {name: new[name] for name in done.joined}, gone, config))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _replace(
        self, leaving: list[str], joined: dict[str, tuple[str, EngineSection]], gone: list[str], config: Config
    ) -> None:
        """Lets engines leave. One that comes back under its name, at another place say, joins when the old one has left."""

        async def replace(name: str) -> None:
            await self._fleet.leave(EngineId(name), config.limits.drain)
            if name in joined:
                model, section = joined[name]
                self._fleet.join(model, self._build(section, model))

        await asyncio.gather(*map(replace, leaving))
        for model in gone:
            self._fleet.remove_pool(model)


def reload_routes(reloader: Reloader) -> APIRouter:
    """The route by which operators have the file read again."""
    router = APIRouter(dependencies=[Depends(operator)])

    @router.post("/agentserve/v1/reload", summary="Read the configuration file again: policy, tenants, pools")
    async def reload() -> dict[str, object]:
        try:
            done = reloader.reload()
        except ReloadError as error:
            raise ApiError(400, str(error), code="invalid_configuration") from None
        return {**asdict(done), "gateways_told": reloader.spread()}

    return router


def _frozen(before: Config, config: Config) -> list[str]:
    """Keys that differ and cannot be taken up."""
    return sorted(key for key in Config.model_fields.keys() - LIVE if getattr(before, key) != getattr(config, key))
