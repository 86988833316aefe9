"""Tunes the policy in the background: searches on what was just served, and tries a better setting in live slices.

What the search finds counts for nothing until it has gained on simulated traffic that the search has not seen, with
the whole of its interval; and what is then applied stays only if live traffic does not show a loss (see
`agentserve.gateway.tuning.trial`). Everything is told in the log. The policy in the configuration file is not touched:
after a restart the gateway begins with it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from agentserve.config import TuneSection
from agentserve.gateway.tuning.errors import TuningError
from agentserve.gateway.tuning.search import Engines, Found, Order, Question, Window, look, search
from agentserve.gateway.tuning.slices import Period
from agentserve.gateway.tuning.trial import Slice, Trial, Verdict
from agentserve.gateway.tuning.twin import describe
from agentserve.policyfile import policy_text
from scheduler.brain import Brain
from scheduler.events import Event, PolicyChanged
from scheduler.policy import PolicyConfig
from scheduler.types import EngineId, EngineSpec, Seconds
from simulator.fleet import EngineModel
from simulator.profile import ProfileError, SavedProfile, read_profile
from simulator.tune.installed import HOW_TO_INSTALL, has_optuna
from simulator.tune.objective import parse_objective
from simulator.tune.outcome import Outcome
from simulator.tune.plan import Plan

SLICE: Seconds = 180.0
"""Of live traffic under one policy."""
HISTORY = 200
"""Lines remembered of what it has done."""
LONGEST_PAUSE = 16
"""A change that was taken back doubles the pause before the next search, up to so many times the configured one."""

Searcher: TypeAlias = Callable[[Order], Awaitable[Found]]
Looker: TypeAlias = Callable[[Question], Awaitable[Slice | None]]
Sleep: TypeAlias = Callable[[Seconds], Awaitable[None]]

logger = logging.getLogger(__name__)


class Steered(Protocol):
    """What is tuned: a `Driver`, or what stands in for one in virtual time."""

    brain: Brain

    @property
    def specs(self) -> Mapping[EngineId, EngineSpec]:
        """The engines."""
        ...

    @property
    def engines(self) -> Collection[EngineId]:
        """Those that are up."""
        ...

    def now(self) -> Seconds:
        """The time of the next event."""
        ...

    def handle(self, event: Event) -> None:
        """Gives the brain an event."""
        ...


class Tuner:
    """Watches over the policy of one driver. `run` is its task."""

    def __init__(
        self,
        settings: TuneSection,
        recording: Path,
        driver: Steered,
        *,
        searcher: Searcher = search,
        looker: Looker = look,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], Seconds] = time.time,
        model: str | None = None,
    ) -> None:
        """Reads the profile.

        Args:
            settings: what to search, and how often.
            recording: where the gateway records its calls.
            driver: whose brain is told of other policies.
            searcher: makes a search.
            looker: measures a slice.
            sleep: waits.
            clock: the recording's, in seconds since 1970.
            model: what the gateway serves; None if that is to be seen from its engines.

        Raises:
            TuningError: Optuna is not installed, or the profile cannot be read, or is another model's.
        """
        if not has_optuna():
            raise TuningError(f"tune: {HOW_TO_INSTALL}")
        self._settings = settings
        self._objective = parse_objective(settings.objective)
        self._recording = recording
        self._driver = driver
        self._profile = _read(settings.profile, model)
        self._search = searcher
        self._look = looker
        self._sleep = sleep
        self._clock = clock
        self._history: deque[tuple[Seconds, str]] = deque(maxlen=HISTORY)
        self._searches = 0
        self._pause = settings.every

    def notes(self) -> Sequence[tuple[Seconds, str]]:
        """What it has done, the oldest first: when, in seconds since 1970, and in words."""
        return tuple(self._history)

    async def run(self) -> None:
        """Searches now and then, until cancelled. Nothing that goes wrong in a search or a trial ends it."""
        while True:
            await self._sleep(self._pause)
            try:
                await self._improve()
            except (TuningError, OSError) as error:
                self._note(f"given up until the next time: {error}", logging.WARNING)
            except Exception:
                self._note("given up until the next time, by a mistake in it", logging.ERROR, trace=True)

    async def _improve(self) -> None:
        """One search, and what follows from it.

        Raises:
            TuningError: it cannot be made.
        """
        order = self._order()
        self._note(f"searching on the calls of the last {self._settings.window:g} s")
        found = await self._search(order)
        self._note(f"simulated {found.calls} calls on {'; '.join(map(describe, found.fleet))}")
        outcome = found.outcome
        told = f"{self._objective.write(outcome.gain)} in {outcome.simulations} simulations"
        if not outcome.improved:
            self._note(f"no gain for certain: {told}; the policy stays")
            return
        self._note(f"{told}; on trial now:\n{policy_text(outcome.policy).rstrip()}")
        if await self._prove(outcome, found.fleet[0]):
            self._pause = self._settings.every
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE * self._settings.every)

    def _order(self) -> Order:
        """What is to be searched: the traffic of late, on the engines that are up.

        Raises:
            TuningError: none is.
        """
        driver = self._driver
        up = {name: driver.specs[name] for name in driver.engines}
        if not up:
            raise TuningError("no engine is up")
        learned = driver.brain.learned.prefill_rates
        rates = {name: learned[name].value for name in up if name in learned}
        self._searches += 1
        return Order(
            self._window(self._clock()),
            Engines(up, rates, self._profile),
            driver.brain.policy,
            self._objective,
            Plan(self._settings.budget, self._settings.seeds, seed=1_000 * self._searches),
            driver.brain.idle_timeout,
        )

    async def _prove(self, outcome: Outcome, engine: EngineModel) -> bool:
        """Whether the new policy stays. If the trial breaks off, it does not."""
        trial, kept = Trial(), False
        try:
            kept = await self._try(trial, outcome, engine)
        finally:
            self._apply(outcome.policy if kept else outcome.default)
        self._note(f"{'the new policy stays' if kept else 'back to the policy before'}: {_shown(trial)}")
        return kept

    async def _try(self, trial: Trial, outcome: Outcome, engine: EngineModel) -> bool:
        """Alternates both policies. A slice is judged when the next is over: most of its calls have ended then."""
        passed: Period | None = None
        verdict = Verdict.OPEN
        while verdict is Verdict.OPEN:
            new, begin = trial.next_is_new(), self._clock()
            self._apply(outcome.policy if new else outcome.default)
            await self._sleep(SLICE)
            if passed is not None:
                question = Question(self._window(passed.begin), passed, engine.profile)
                verdict = trial.enter(await self._look(question))
            passed = Period(begin, self._clock(), new)
        return verdict is Verdict.KEEP

    def _note(self, text: str, level: int = logging.INFO, *, trace: bool = False) -> None:
        """Tells it in the log, and remembers it."""
        logger.log(level, "tuning: %s", text, exc_info=trace)
        self._history.append((self._clock(), text))

    def _apply(self, policy: PolicyConfig) -> None:
        if policy != self._driver.brain.policy:
            self._driver.handle(PolicyChanged(self._driver.now(), policy))

    def _window(self, before: Seconds) -> Window:
        """The calls that have ended since a window before that time."""
        return Window(self._recording, before - self._settings.window)


def _shown(trial: Trial) -> str:
    if trial.difference is None:
        return "there was too little traffic to compare them live"
    gain = trial.difference.gain
    low, value, high = (100 * bound for bound in (gain.low, gain.value, gain.high))
    return f"at equal load calls took {value:.1f} % less of the time under it (95 % interval {low:.1f} to {high:.1f})"


def _read(path: Path | None, model: str | None) -> SavedProfile | None:
    if path is None:
        return None
    try:
        saved = read_profile(path)
    except OSError as error:
        raise TuningError(f"tune.profile: {path} cannot be read: {error.strerror}") from None
    except ProfileError as error:
        raise TuningError(f"tune.profile: {error}") from None
    if model is not None and saved.measured is not None and saved.measured.model != model:
        raise TuningError(
            f"tune.profile: {path} was measured on the model {saved.measured.model} (field measured.model), not {model}"
        )
    return saved
