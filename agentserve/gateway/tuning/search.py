"""A search on the traffic of late, and how a slice of it went: what is done apart from the gateway's process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentserve.gateway.tuning.apart import apart
from agentserve.gateway.tuning.errors import TuningError
from agentserve.gateway.tuning.recent import recent
from agentserve.gateway.tuning.slices import Period, measure
from agentserve.gateway.tuning.trial import Slice
from agentserve.gateway.tuning.twin import twins
from scheduler.policy import PolicyConfig, PolicyError
from scheduler.types import EngineId, EngineSpec, Seconds
from simulator.client import ClientRules
from simulator.compare import Setting
from simulator.fleet import EngineModel
from simulator.gateway import SimulationError
from simulator.profile import SavedProfile, StepProfile
from simulator.trace import Trace
from simulator.tune.bench import Bench
from simulator.tune.objective import Objective, ObjectiveError
from simulator.tune.outcome import Outcome
from simulator.tune.plan import Plan
from simulator.tune.space import knobs
from simulator.tune.workers import here
from workloads import traces
from workloads.program import WorkloadError
from workloads.traces.recording import RECORDING, RecordedCall

FEWEST = 20
"""Programs without which a search would only find accidents."""
MAX_CALLS = 20_000
"""The latest calls of a window; a search simulates each of them over a hundred times."""
RULES = ClientRules(announce_end=False, exact_lengths=False)
"""Where a recording does not tell what clients said, they are taken to have said nothing: most do not."""


@dataclass(frozen=True, slots=True)
class Window:
    """The traffic of late: the calls of a recording that have ended since a time, in seconds since 1970."""

    recording: Path
    since: Seconds

    def calls(self) -> list[RecordedCall]:
        """Reads them, the latest `MAX_CALLS` at most.

        Raises:
            TuningError: the recording cannot be read.
        """
        try:
            return recent(self.recording, self.since, MAX_CALLS)
        except OSError as error:
            raise TuningError(f"{self.recording} cannot be read: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines that are up, and what is known of their speed."""

    specs: Mapping[EngineId, EngineSpec]
    rates: Mapping[EngineId, float]
    """Prefilled tokens a second, where the scheduler has learned them."""
    profile: SavedProfile | None
    """The one that was given."""

    def modelled(self, calls: Sequence[RecordedCall]) -> tuple[EngineModel, ...]:
        """As a simulation has them.

        Raises:
            TuningError: as `twins`.
        """
        return twins(self.specs, self.profile, self.rates, calls)


@dataclass(frozen=True, slots=True)
class Order:
    """What a search is to be made of."""

    window: Window
    engines: Engines
    policy: PolicyConfig
    objective: Objective
    plan: Plan
    idle_timeout: Seconds


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a search, and what it was made with."""

    outcome: Outcome
    fleet: tuple[EngineModel, ...]
    calls: int


@dataclass(frozen=True, slots=True)
class Question:
    """How a period went on engines of that speed."""

    window: Window
    period: Period
    profile: StepProfile


async def search(order: Order) -> Found:
    """Searches in another process, which ends with this task.

    Raises:
        TuningError: the traffic is no good for a search, or the process ended before its time.
    """
    return await apart(find, order)


async def look(question: Question) -> Slice | None:
    """Measures a slice in another process, which ends with this task.

    Raises:
        TuningError: the recording cannot be read, or the process ended before its time.
    """
    return await apart(see, question)


def see(question: Question) -> Slice | None:
    """Measures a slice here.

    Raises:
        TuningError: the recording cannot be read.
    """
    return measure(question.period, question.window.calls(), question.profile)


def find(order: Order) -> Found:
    """Searches here.

    Raises:
        TuningError: the traffic is no good for a search.
    """
    from simulator.tune.search import Search  # imports Optuna, which the gateway's own process can do without

    calls = order.window.calls()
    fleet = order.engines.modelled(calls)
    try:
        bench = _bench(order, calls, fleet)
        if len(bench.families) < FEWEST:
            raise TuningError(f"{len(bench.families)} programs are too few to search with; it takes {FEWEST}")
        with here(bench) as run:
            outcome = Search(order.policy, knobs(order.policy, len(fleet)), order.plan, run).outcome()
    except (WorkloadError, SimulationError, PolicyError, ObjectiveError) as error:
        raise TuningError(str(error)) from error
    return Found(outcome, fleet, len(calls))


def _bench(order: Order, calls: Sequence[RecordedCall], fleet: tuple[EngineModel, ...]) -> Bench:
    limit = min(engine.config.max_model_len for engine in fleet)
    with tempfile.TemporaryDirectory(prefix="agentserve-tuning-") as folder:
        path = Path(folder) / "calls.jsonl"
        RECORDING.write(path, calls)
        trace = Trace(lambda: traces.load(path, context_tokens=limit), fleet)
        return Bench.of(trace, Setting(fleet, rules=RULES, idle_timeout=order.idle_timeout), order.objective)
