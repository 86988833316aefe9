"""An engine on the clock: stepped when its steps end, asked about pins and memory as the gateway asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import floor, isfinite
from time import perf_counter
from typing import NamedTuple

from scheduler.types import CallId, EngineId, EngineSpec, ProgramKey, Seconds, Tokens
from simulator.clock import Clock, Turn
from simulator.engine import Engine
from simulator.fleet import EngineModel
from simulator.request import Output, Request
from simulator.retention import Report

POLL: Seconds = 2.0
"""Between two questions for news of pins, as the gateway asks. Those to which the answer is nothing are left out."""
SCRAPE: Seconds = 5.0
"""Between two looks at an engine's gauges, as the gateway's supervisor looks."""


class Pulse(NamedTuple):
    """An engine's gauges; memory in tokens."""

    running: int
    waiting: int
    kv_used: int
    retained: int | None
    outputs: tuple[tuple[CallId, Tokens], ...]
    """What the requests that run have produced."""


@dataclass(frozen=True, slots=True)
class Ears:
    """Who hears of what the engine does."""

    outputs: Callable[[Station, tuple[Output, ...]], None]
    reports: Callable[[Station, list[Report]], None]
    pulse: Callable[[Station, Pulse], None]


class Station:
    """One engine. Scrapes of an engine that has been idle since the last one tell nothing new and are left out."""

    def __init__(self, model: EngineModel, clock: Clock, ears: Ears) -> None:
        self.model = model
        self.id = EngineId(model.name)
        profile = model.profile if model.slower == 1 else model.profile.times(model.slower)
        self.engine = Engine(model.config, profile)
        self.calls = 0
        self.steps = 0
        self.busy: Seconds = 0.0
        self.seconds = 0.0
        """Real time that the model took."""
        self.after_step: Callable[[Station], None] | None = None
        """Called at the end of each step, if anybody wants to look."""
        self._clock = clock
        self._ears = ears
        self._due: Seconds | None = None
        self._began: Seconds = 0.0
        self._polls: set[Seconds] = set()
        """When news of pins will be asked for."""
        self._scraping = False
        self._cursor = 0
        self._ordered = False
        """The answer to an order for a pin is still to come."""

    @property
    def idle(self) -> bool:
        """No step is under way."""
        return self._due is None

    def spec(self, served: str) -> EngineSpec:
        """The engine as the gateway's probe would find it."""
        config = self.model.config
        return EngineSpec(
            models=(served,),
            kv_tokens=config.kv_tokens,
            block_size=config.block_size,
            max_model_len=config.max_model_len,
            max_num_seqs=config.max_num_seqs,
            retention=self.model.plugin,
            priority=config.priority,
            cost=self.model.profile.cost,
            offload_tokens=config.offload_tokens,
            offload_tokens_per_s=config.load_tokens_per_s if config.offload_tokens else 0.0,
        )

    def submit(self, request: Request) -> None:
        """A request reaches the engine."""
        started = perf_counter()
        self.engine.add(request, self._clock.now)
        self.seconds += perf_counter() - started
        self.calls += 1
        if self.idle:
            self._began = self._clock.now
        self._expect(self.engine.next_time or self._clock.now)
        if not self._scraping:
            self._scraping = True
            self._clock.at(_next(SCRAPE, self._clock.now), self._scrape)

    def abort(self, name: CallId) -> None:
        """A request is not wanted any more."""
        self.engine.abort(name, self._clock.now)
        if not self.idle:
            self._expect(self.engine.next_time or self._clock.now)

    # --- steps ------------------------------------------------------------------------------------------------------

    def _expect(self, when: Seconds | None) -> None:
        if when != self._due:
            self._due = when
            if when is not None:
                self._clock.at(when, self._step, Turn.ENGINE)

    def _step(self) -> None:
        now = self._clock.now
        if now != self._due:
            return  # an arrival has brought the end of the step forward
        started = perf_counter()
        outputs, following = self.engine.step(now)
        self.seconds += perf_counter() - started
        self.steps += 1
        if following is None:
            self.busy += now - self._began
        self._due = None
        self._expect(following)
        if self._ordered:
            self._ordered = False
            self._tell_reports()
        elif self.engine.retention.cursor != self._cursor:
            self._ask_after(now)
        if outputs:
            self._ears.outputs(self, outputs)
        if self.after_step is not None:
            self.after_step(self)

    # --- pins -------------------------------------------------------------------------------------------------------

    def watch(self, ttl: Seconds) -> None:
        """A pin of that time to live exists from now on: there may be news when it is over."""
        self._ask_after(self._clock.now + ttl)

    def order(self, program: ProgramKey, ttl: Seconds) -> None:
        """An order for a program's pin reaches the engine; its answer, at the end of a step, carries news."""
        self.engine.retain(str(program), ttl, self._clock.now)
        self.watch(ttl)
        if self.idle:
            self._tell_reports()
        else:
            self._ordered = True
            self._expect(self.engine.next_time or self._clock.now)

    def _ask_after(self, when: Seconds) -> None:
        """The gateway's first question after that time is one with an answer."""
        if not isfinite(when):
            return
        poll = _next(POLL, when)
        if poll not in self._polls:
            self._polls.add(poll)
            self._clock.at(poll, partial(self._poll, poll))

    def _poll(self, poll: Seconds) -> None:
        self._polls.remove(poll)
        self._tell_reports()

    def _tell_reports(self) -> None:
        reports = self.engine.reports_since(self._cursor, self._clock.now)
        if reports:
            self._cursor = self.engine.retention.cursor
            self._ears.reports(self, reports)

    # --- gauges -----------------------------------------------------------------------------------------------------

    def pulse(self) -> Pulse:
        """The engine's gauges now."""
        engine, config = self.engine, self.model.config
        progress = engine.progress(self._clock.now)
        used = (config.num_blocks - engine.free_blocks) * config.block_size
        retained = engine.retention.protected_blocks * config.block_size if self.model.plugin else None
        outputs = tuple((CallId(name), produced) for name, produced in progress.items() if produced)
        return Pulse(engine.running, engine.waiting, used, retained, outputs)

    def _scrape(self) -> None:
        self._ears.pulse(self, self.pulse())
        self._scraping = not self.idle
        if self._scraping:
            self._clock.at(_next(SCRAPE, self._clock.now), self._scrape)


def _next(period: Seconds, after: Seconds) -> Seconds:
    """The first multiple of the period after that time."""
    return (floor(after / period) + 1) * period
