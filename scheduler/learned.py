"""What the brain learns from traffic and keeps across restarts."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from scheduler.average import Average, plain, read_average, read_numbers
from scheduler.pace import Pace
from scheduler.procedures.conformal import Calibration
from scheduler.stragglers import Stragglers
from scheduler.types import UNNAMED, EngineId, Seconds, TenantId, Tokens
from scheduler.workflows import StageKey, StageStats
from tools.gaps import GapModel, SavedGaps

_Key = TypeVar("_Key")

DELAY_WINDOW = 200
"""Queueing delays of calls that had lost their KV: samples kept for Continuum's T."""

MOST_NAMES = 4096
"""Workflows, and stages, that are remembered. Clients name them: of more, the half that fewest calls were answered of goes."""

WORK_MEMORY = 500
"""Samples that mean seconds remember: with heavy tails, the mean of few says little."""
WORK_STEP = 0.1
"""By which share a mean changes before it counts anew: then those that wait find their places anew."""

RETURNS = (0.75, 4)
"""What is believed of a workflow's chance of return at first, and how many programs that belief counts for."""
UNNAMED_RETURNS = (0.25, 4)
"""The same for first calls without a name. A return is seen when it comes, but that none comes only after a while."""


def kind_of(workflow: str, prompt: Tokens) -> str:
    """The programs that one is learned with: those of its workflow; where none is named, those whose first prompts are
    about as long, within a power of two. Questions and agents are told apart by that.
    """
    return workflow if workflow not in {"", UNNAMED} else f"{workflow}<{1 << prompt.bit_length()}"


@dataclass(slots=True)
class WorkflowStats:
    """Programs of one tenant's workflow, or other kind."""

    peak: Average = field(default_factory=lambda: Average(0.0))
    """Largest context of a program, in tokens."""
    output: Average = field(default_factory=lambda: Average(128.0))
    """Output tokens of a call."""
    calls: Average = field(default_factory=lambda: Average(0.0))
    """Calls of a program."""
    second: Average = field(default_factory=lambda: Average(*RETURNS))
    """Share of programs that come back after their first call, and go on with its history."""
    further: Average = field(default_factory=lambda: Average(*RETURNS))
    """Share of later calls after which they do."""
    call_work: Average = field(default_factory=lambda: Average(0.0, memory=WORK_MEMORY))
    """Seconds that an engine takes for a call."""
    work: Average = field(default_factory=lambda: Average(0.0, memory=WORK_MEMORY))
    """Seconds that engines take for a program in all."""
    expected_work: Seconds = field(init=False, default=0.0)
    """The latter as it counts: it follows the mean in steps, so that all that wait are placed by the same one."""

    def returns(self, served: int) -> Average:
        """The chance that a program with `served` answered calls comes back, and has a use for its KV."""
        return self.second if served <= 1 else self.further

    def to_json(self) -> list[list[float]]:
        """Plain JSON values."""
        averages = (self.peak, self.output, self.calls, self.second, self.further, self.call_work, self.work)
        return [plain(average) for average in averages]

    @classmethod
    def from_json(cls, averages: Sequence[object]) -> WorkflowStats:
        """The inverse of `to_json`. States of older versions have no seconds.

        Raises:
            TypeError: an average is no list of numbers.
            ValueError: it has not two of them.
        """
        stats = cls(*(read_average(item) for item in averages[:5]))
        if len(averages) > 5:
            call_work, work = (read_average(item, memory=WORK_MEMORY) for item in averages[5:])
            stats.call_work, stats.work, stats.expected_work = call_work, work, work.value
        return stats


@dataclass(slots=True)
class TurnCorrelation:
    """Running sums for the correlation of k (calls served) with N - k (calls left) over ended programs."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    def add_program(self, calls: int) -> None:
        """Adds the pairs (k, calls - k) for k = 0 .. calls - 1."""
        for served in range(calls):
            left = calls - served
            self.n += 1
            self.x += served
            self.y += left
            self.xx += served * served
            self.yy += left * left
            self.xy += served * left

    @property
    def eta(self) -> float:
        """-Corr(k, N - k): 1 if all programs are equally long, 0 if turns are geometric. 1 while undefined."""
        if self.n < 2:
            return 1.0
        var_x = self.xx - self.x * self.x / self.n
        var_y = self.yy - self.y * self.y / self.n
        if var_x <= 1e-9 or var_y <= 1e-9:
            return 1.0
        covariance = self.xy - self.x * self.y / self.n
        return float(-covariance / (var_x * var_y) ** 0.5)


@dataclass(slots=True)
class Learned:
    """Everything learned. `to_json` and `from_json` keep all of it."""

    gaps: GapModel = field(default_factory=GapModel)
    workflows: dict[tuple[str, str], WorkflowStats] = field(default_factory=dict)
    stages: dict[StageKey, StageStats] = field(default_factory=dict)
    """The stages of workflows, of calls that name theirs."""
    tokens_per_byte: Average = field(default_factory=lambda: Average(0.25))
    prefill_rates: dict[EngineId, Average] = field(default_factory=dict)
    """Prefill tokens per second of each engine."""
    paces: dict[EngineId, Pace] = field(default_factory=dict)
    """How fast engines are that answer in one piece."""
    stragglers: Stragglers = field(default_factory=Stragglers)
    """Engines that have become slower than they are known to be."""
    turns: TurnCorrelation = field(default_factory=TurnCorrelation)
    calibration: Calibration = field(default_factory=Calibration)
    """Scores of segments, for procedures."""
    eviction_delays: deque[Seconds] = field(default_factory=lambda: deque(maxlen=DELAY_WINDOW))
    newcomer: Average = field(default_factory=lambda: Average(0.0, memory=100))
    """Tokens that a new program is expected to hold on average: what its first call does, and half of what comes after."""
    steps: int = 0
    """How many steps the expected works of workflows have made."""

    def took(self, stats: WorkflowStats, seconds: Seconds) -> None:
        """A program of that workflow took the engines so long in all."""
        stats.work.add(seconds)
        if abs(stats.work.value - stats.expected_work) > WORK_STEP * stats.expected_work:
            stats.expected_work = stats.work.value
            self.steps += 1

    def workflow(self, tenant: str, workflow: str) -> WorkflowStats:
        """The statistics of a workflow or other kind, made on first use."""
        stats = self.workflows.get((tenant, workflow))
        if stats is None:
            _make_room(self.workflows)
            stats = self.workflows[tenant, workflow] = WorkflowStats()
            if workflow.startswith(f"{UNNAMED}<"):
                stats.second = Average(*UNNAMED_RETURNS)
        return stats

    def stage(self, key: StageKey) -> StageStats:
        """The statistics of a stage, made on first use."""
        stats = self.stages.get(key)
        if stats is None:
            _make_room(self.stages)
            stats = self.stages[key] = StageStats()
        return stats

    def prefill_rate(self, engine: EngineId, default: float) -> Average:
        """The engine's prefill rate in tokens per second, made on first use."""
        rate = self.prefill_rates.get(engine)
        if rate is None:
            rate = self.prefill_rates[engine] = Average(default)
        return rate

    def pace(self, engine: EngineId) -> Pace:
        """How fast the engine answers in one piece, made on first use."""
        return self.paces.setdefault(engine, Pace())

    @property
    def mean_eviction_delay(self) -> Seconds:
        """Continuum's T: 0 until a call that had lost its KV has waited."""
        return sum(self.eviction_delays) / len(self.eviction_delays) if self.eviction_delays else 0.0

    def expected_peak(self, tenant: str, workflow: str, context: Tokens) -> Tokens:
        """The context a program now at `context` tokens is expected to end with.

        The mean of its workflow's ended programs; twice the present context while none has ended.
        """
        peak = self.workflow(tenant, workflow).peak
        return max(context, int(peak.value) if peak.count else 2 * context)

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        turns = self.turns
        return {
            "gaps": self.gaps.to_json(),
            "workflows": [[*key, *stats.to_json()] for key, stats in self.workflows.items()],
            "stages": [[*key, stats.to_json()] for key, stats in self.stages.items()],
            "tokens_per_byte": plain(self.tokens_per_byte),
            "prefill_rates": {engine: plain(rate) for engine, rate in self.prefill_rates.items()},
            "paces": {engine: pace.to_json() for engine, pace in self.paces.items()},
            "stragglers": self.stragglers.to_json(),
            "turns": [turns.n, turns.x, turns.y, turns.xx, turns.yy, turns.xy],
            "eviction_delays": list(self.eviction_delays),
            "newcomer": plain(self.newcomer),
            "calibration": self.calibration.to_json(),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, object]) -> Learned:
        """The inverse of `to_json`.

        Raises:
            ValueError: the state is not what `to_json` writes.
        """
        try:
            return cls._from_json(state)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a saved state: {error!r}") from error

    @classmethod
    def _from_json(cls, state: Mapping[str, object]) -> Learned:
        learned = cls(gaps=GapModel.from_json(cast("SavedGaps", state["gaps"])))
        for row in _rows(state["workflows"]):
            tenant, workflow, *averages = row
            learned.workflows[str(tenant), str(workflow)] = WorkflowStats.from_json(averages)
        for tenant, workflow, stage, stats in _rows(state.get("stages", [])):  # states of older versions have none
            learned.stages[TenantId(str(tenant)), str(workflow), str(stage)] = StageStats.from_json(stats)
        learned.tokens_per_byte = read_average(state["tokens_per_byte"])
        for engine, rate in _mapping(state["prefill_rates"]).items():
            learned.prefill_rates[EngineId(engine)] = read_average(rate)
        for engine, pace in _mapping(state.get("paces", {})).items():  # states of older versions have none
            learned.paces[EngineId(engine)] = Pace.from_json(read_numbers(pace))
        learned.stragglers = Stragglers.from_json(
            _mapping(state.get("stragglers", {}))
        )  # states of older versions: none
        count, *sums = read_numbers(state["turns"])
        learned.turns = TurnCorrelation(int(count), *sums)
        learned.eviction_delays.extend(read_numbers(state["eviction_delays"]))
        if "newcomer" in state:  # states of before this was learned go without
            learned.newcomer = read_average(state["newcomer"], memory=100)
        if "calibration" in state:  # states of older versions have none
            learned.calibration = Calibration.from_json(_mapping(state["calibration"]))
        return learned


def _make_room(table: MutableMapping[_Key, WorkflowStats] | MutableMapping[_Key, StageStats]) -> None:
    """Forgets some where there are as many as there may be; of those that were used as little, the oldest."""
    if len(table) >= MOST_NAMES:
        for key in sorted(table, key=lambda key: table[key].output.count)[: MOST_NAMES // 2]:
            del table[key]


def _rows(value: object) -> list[list[object]]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, not {value!r}")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected an object, not {value!r}")
    return value
