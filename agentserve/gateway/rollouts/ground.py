"""The rollouts of one model: the samples that are written, the weights of its engines, and what may be submitted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agentserve.engines.base import Engine
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import RETRY_AFTER, ApiError
from agentserve.gateway.rollouts.sample import Sample
from agentserve.gateway.rollouts.update import Update, UpdateError, carry_out
from scheduler.brain import Decision
from scheduler.events import Event
from scheduler.rollouts.staleness import Bound, Submitted
from scheduler.rollouts.versions import Versions
from scheduler.types import EngineId, Seconds

LOST = ("abort", "stale", "error")
"""Ends of samples that are not trained on."""
ENDING: Seconds = 1.0
"""How long samples that were cut have to leave their engine, before whatever still runs there is taken for an ordinary call."""

logger = logging.getLogger(__name__)


class Mode(StrEnum):
    """What becomes of the samples that run when a model is paused."""

    WAIT = "wait"
    """They are written to their end."""
    KEEP = "keep"
    """They are interrupted, and go on from where they were."""
    ABORT = "abort"
    """They end with what they have."""


@dataclass(frozen=True, slots=True)
class Changed:
    """How an engine's change of weights went; `error` is empty if it has them."""

    engine: EngineId
    version: int
    seconds: Seconds
    interrupted: int
    """Samples that went on elsewhere, or here with the new weights."""
    error: str = ""


class Ground:
    """One model's engines, as far as rollouts change them."""

    def __init__(self, driver: Driver, model: str, engines: Sequence[EngineId], bound: Bound | None) -> None:
        self.model = model
        self.engines = engines
        """Those of the pool, which may join and leave."""
        self.versions = Versions()
        self.submitted = Submitted(bound)
        self.samples: set[Sample] = set()
        self.paused = False
        self.broken: dict[EngineId, str] = {}
        """Engines with weights that nobody knows, and why: they get no calls until an update succeeds."""
        self._driver = driver
        self._update: Update | None = None
        self._updating = asyncio.Lock()

    # --- what may be submitted --------------------------------------------------------------------------------------

    def check(self, samples: int) -> None:
        """A group of so many samples is about to be submitted.

        Raises:
            ApiError: 429, they would be too stale; 400, no version ever makes room for them.
        """
        bound, version = self.submitted.bound, self.versions.latest
        if bound is None:
            return
        if samples > self.submitted.most:
            message = (
                f"a group of {samples} samples can never be fresh enough: {bound.batch} samples make a version, which"
            )
            raise ApiError(
                400, f"{message} may be {bound.lag} behind; send at most {self.submitted.most:.0f}", param="n"
            )
        if self.submitted.refuses(samples, version):
            self._driver.metrics.stale_groups.labels(self.model).inc()
            lag = self.submitted.lag(samples, version)
            message = (
                f"the group would be trained on {lag} versions after its weights ({version}), and may be {bound.lag} behind:"
                f" {self.submitted.samples} samples are submitted, {bound.batch} make a version; submit it again once there"
                " is a newer one"
            )
            raise ApiError(429, message, param="n", code="too_stale", retry_after=RETRY_AFTER)

    # --- pausing ----------------------------------------------------------------------------------------------------

    async def pause(self, mode: Mode, limit: Seconds) -> int:
        """Begins no call until `resume`; returns how many still run after `limit` seconds, or as soon as none does."""
        self.paused = True
        for engine in self._up():
            self._driver.hold(engine)
        if mode is Mode.ABORT:
            self.abort()
            for engine in self._up():
                self._driver.abort(engine)
        elif mode is Mode.KEEP:
            for sample in self.samples:
                if sample.engine is not None:
                    sample.cut()
        await asyncio.gather(*(self._idle(engine, limit) for engine in self._up()))
        return sum(self._running(engine) for engine in self._up())

    def ended(self, samples: Collection[Sample]) -> None:
        """Samples are written no more; one that has no end was given up by its client, and counts as aborted."""
        self.samples.difference_update(samples)
        self.submitted.take_back(sum(sample.finish in LOST or not sample.finish for sample in samples))
        for sample in samples:
            self._driver.metrics.samples.labels(self.model, sample.finish or "abort").inc()

    def resume(self) -> None:
        """Calls begin again, and samples that were interrupted go on."""
        self.paused = False
        for engine in self._up():
            if engine not in self.broken and not self._updating.locked():
                self._driver.release(engine)

    def abort(self, groups: Collection[str] | None = None) -> int:
        """Ends the samples of these groups, of all where none is named, with what they have; returns how many."""
        chosen = [each for each in self.samples if not each.finish and (groups is None or each.group in groups)]
        for sample in chosen:
            sample.end("abort")
        return len(chosen)

    # --- weights ----------------------------------------------------------------------------------------------------

    async def update(self, update: Update, drain: Seconds) -> list[Changed]:
        """Gives one engine after another the weights, each when it is idle; its calls have `drain` seconds to end.

        Raises:
            ApiError: 409, another update is under way, or there is a newer version.
        """
        if self._updating.locked():
            raise ApiError(409, f"the weights of {self.model!r} are being updated; wait for its end", code="updating")
        try:
            self.versions.announce(update.version)
        except ValueError as error:
            raise ApiError(409, str(error), param="version", code="old_version") from None
        self._update = update
        async with self._updating:
            self._end_outdated()
            return [await self._change(engine, update, drain) for engine in self._up()]

    async def join(self, engine: Engine) -> None:
        """An engine has come up anew, with the weights that it begins with; it gets the latest."""
        self.versions.began(engine.name)
        self.broken.pop(engine.name, None)
        if self._update is None:
            return
        try:
            await carry_out(engine, self._update)
        except UpdateError as error:
            self._is_broken(engine.name, str(error))
        else:
            self.versions.loaded(engine.name, self._update.version)

    def joins(self, engine: EngineId) -> None:
        """The brain is about to hear of the engine."""
        if self.paused or engine in self.broken:
            self._driver.hold(engine)

    async def _change(self, engine: EngineId, update: Update, drain: Seconds) -> Changed:
        began = self._driver.now()
        self._driver.hold(engine)
        interrupted = await self._empty(engine, drain)
        error = ""
        try:
            await carry_out(self._driver.engines[engine], update)
        except KeyError:
            error = "it went down"
        except UpdateError as failure:
            error = str(failure)
            if not failure.unchanged:
                self._is_broken(engine, error)
        else:
            self.versions.loaded(engine, update.version)
            self.broken.pop(engine, None)
        self._reopen(engine, emptied=not error)
        return Changed(engine, self.versions.of(engine), self._driver.now() - began, interrupted, error)

    def _reopen(self, engine: EngineId, *, emptied: bool) -> None:
        if engine in self.broken:
            return
        if emptied:
            self._driver.renew(engine, held=self.paused)
        elif not self.paused:
            self._driver.release(engine)

    def _is_broken(self, engine: EngineId, error: str) -> None:
        self.broken[engine] = error
        logger.error("engine %s gets no calls until an update of its weights succeeds: %s", engine, error)

    def _end_outdated(self) -> None:
        for sample in self.samples:
            if self.submitted.outdated(sample.oldest, self.versions.latest):
                sample.end("stale")

    async def _empty(self, engine: EngineId, drain: Seconds) -> int:
        """Waits until nothing runs there, at most so long; then samples are interrupted, and other calls go elsewhere."""
        await self._idle(engine, drain)
        there = [sample for sample in self.samples if sample.engine == engine]
        for sample in there:
            sample.cut()
        await self._idle(engine, ENDING)
        self._driver.lose(engine)
        await self._idle(engine, None)
        return len(there)

    def _up(self) -> list[EngineId]:
        return [engine for engine in self.engines if engine in self._driver.engines]

    def _running(self, engine: EngineId) -> int:
        known = self._driver.brain.engines.get(engine)
        return 0 if known is None else len(known.running)

    async def _idle(self, engine: EngineId, limit: Seconds | None) -> None:
        """Returns when no call runs there, or after so many seconds."""
        idle = asyncio.Event()

        def look(event: Event, decision: Decision) -> None:
            if not self._running(engine):
                idle.set()

        if not self._running(engine):
            return
        self._driver.watch(look)
        try:
            async with asyncio.timeout(limit):
                await idle.wait()
        except TimeoutError:
            pass
        finally:
            self._driver.unwatch(look)
