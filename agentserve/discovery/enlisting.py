"""What follows from lists: engines join, and leave in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from agentserve.discovery.base import DiscoveryError, EngineSource
from agentserve.discovery.section import Entry
from agentserve.engines.supervise import Supervised
from agentserve.gateway.fleet import Fleet
from scheduler.types import EngineId, Seconds

INTERVAL: Seconds = 1.0
"""Between two looks at the lists."""

logger = logging.getLogger(__name__)


class Enlisting:
    """Keeps a fleet as the lists have it. `run` is its task. Engines of the configuration file are nobody's to list."""

    def __init__(
        self,
        sources: Mapping[str, EngineSource],
        fleet: Fleet,
        build: Callable[[Entry], Supervised],
        drain: Seconds,
    ) -> None:
        self._sources = sources
        self._fleet = fleet
        self._build = build
        self._drain = drain
        self._lists: dict[str, Sequence[Entry]] = {}
        self._here: dict[str, Entry] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._own = frozenset(report.name for report in fleet.report())

    async def run(self) -> None:
        """Looks at the lists until cancelled."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(INTERVAL)
        finally:
            for task in self._leaving.values():
                task.cancel()

    async def look(self) -> None:
        """Has engines join and leave by what the lists say now."""
        problems: dict[str, str] = {}
        for name, source in self._sources.items():
            try:
                self._lists[name] = await source.listed()
            except DiscoveryError as error:
                problems[name] = f"{error}; the last list holds"
        wanted = self._wanted(problems)
        for name, entry in list(self._here.items()):
            if wanted.get(name) != entry:
                self._leave(name)
        for name, entry in wanted.items():
            if name not in self._here and name not in self._leaving:
                self._join(entry)
        self._tell(problems)

    def _wanted(self, problems: dict[str, str]) -> dict[str, Entry]:
        """The engines of all lists. Those that cannot be had are problems of their lists."""
        wanted: dict[str, Entry] = {}
        for source, entries in self._lists.items():
            for entry in entries:
                if refused := self._refused(entry, wanted):
                    problems.setdefault(source, refused)
                else:
                    wanted[entry.name] = entry
        return wanted

    def _refused(self, entry: Entry, wanted: Mapping[str, Entry]) -> str:
        if entry.name in self._own or entry.name in wanted:
            return f"engine {entry.name!r}: another one has that name; choose another"
        return self.unserved(entry)

    def unserved(self, entry: Entry) -> str:
        """Why no pool takes the engine; empty if one does."""
        if entry.model in self._fleet.pools:
            return ""
        pools = ", ".join(self._fleet.pools)
        return f"engine {entry.name!r}: there is no pool {entry.model!r}; the pools are {pools}"

    def _join(self, entry: Entry) -> None:
        logger.info("engine %s joins %s at %s", entry.name, entry.model, entry.url)
        self._here[entry.name] = entry
        self._fleet.join(entry.model, self._build(entry), entry.labels)

    def _leave(self, name: str) -> None:
        logger.info("engine %s leaves", name)
        del self._here[name]
        task = asyncio.create_task(self._fleet.leave(EngineId(name), self._drain))
        self._leaving[name] = task
        task.add_done_callback(lambda _: self._leaving.pop(name, None))

    def _tell(self, problems: dict[str, str]) -> None:
        for source, what in problems.items():
            if self._fleet.problems.get(source) != what:
                logger.warning("discovery by %s: %s", source, what)
        self._fleet.problems = problems
