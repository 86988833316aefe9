"""What the feed tells: programs, engines, tenants, times and pins as they were told last, and what has changed since.

Pure: events and the time come in, frames go out. A frame costs what has changed, because every event that changes a
program names it; only pins that run out and programs that end in silence are found by looking at all (`sweep`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from agentserve.dashboard import policies
from agentserve.dashboard.quantiles import Quantiles
from agentserve.dashboard.states import Doing, State, doing
from agentserve.gateway.lives import Life, Watcher
from scheduler.actions import Release, Retain, Why
from scheduler.brain import Brain, Decision
from scheduler.events import EngineDown, Event, PinReported, PolicyChanged
from scheduler.state import EngineState, Program
from scheduler.types import EngineId, ProgramKey, Seconds, TenantId
from workloads.traces.recording import CallStatus

MAX_PROGRAMS = 10_000
"""Programs that are told of one by one."""

Frame: TypeAlias = dict[str, object]
"""As docs/dashboard.md has it, but for what only the driver knows."""
Notes: TypeAlias = Callable[[], Iterable[tuple[Seconds, str]]]
Absent: TypeAlias = Callable[[], Iterable[tuple[EngineId, str, str]]]


@dataclass(slots=True)
class _Told:
    """A program as it was told last."""

    slot: int
    born: Seconds
    doing: Doing
    since: Seconds
    rested: Seconds | None = None
    """When its latest call ended, while it has none."""


@dataclass(slots=True)
class _Sums:
    """What the programs that are told of come to on one engine, in tokens."""

    active: int = 0
    retained: int = 0
    left: int = 0

    def add(self, doing: Doing, sign: int) -> None:
        """Counts a program in or out."""
        if doing.state.active:
            self.active += sign * doing.tokens
        elif doing.state is State.RETAINED:
            self.retained += sign * doing.tokens
        else:
            self.left += sign * doing.tokens


@dataclass(slots=True)
class _Tenant:
    programs: int = 0
    waiting: int = 0
    running: int = 0

    def add(self, doing: Doing, sign: int) -> None:
        """Counts a program in or out."""
        self.programs += sign
        self.waiting += sign * doing.waiting
        self.running += sign * doing.running


@dataclass(slots=True)
class _Changes:
    """Since the last frame."""

    new: list[list[object]] = field(default_factory=list)
    rows: list[list[object]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)


class Scene(Watcher):
    """Follows one brain. It is told of every event after `Lives` was, and of calls by `Lives`."""

    def __init__(
        self,
        brain: Brain,
        now: Seconds,
        *,
        open_calls: Iterable[Life] = (),
        pins: Mapping[str, int] | None = None,
        absent: Absent = tuple,
        notes: Notes = tuple,
    ) -> None:
        """Looks at all there is.

        Args:
            brain: the brain.
            now: the time.
            open_calls: those that are under way.
            pins: what has become of pins so far.
            absent: asked for name, model and status of the engines that have never been up.
            notes: asked for the tuner's history: dates and texts.
        """
        self._brain = brain
        self._absent = absent
        self._notes = notes
        self._moved = {life.arrival.call for life in open_calls if life.dispatch and life.dispatch.why is Why.MOVED}
        self._told: dict[ProgramKey, _Told] = {}
        self._slots = 0
        self._engines: dict[EngineId, _Sums] = {}
        self._tenants: dict[TenantId, _Tenant] = {}
        self._times = {"ttft": Quantiles(), "call": Quantiles(), "program": Quantiles()}
        self._pins = Counter(pins or {})
        self._policy = policies.told(brain.policy, now)
        self._reserves = _reserves(brain)
        self._changes = _Changes()
        self._sent: Frame = {}
        self._told_engines: dict[str, list[object]] = {}
        self.sweep(now)

    # --- what happens -----------------------------------------------------------------------------------------------

    def record(self, event: Event, decision: Decision) -> None:
        """Takes an event that is no call's, and what was decided."""
        match event:
            case PinReported(at, program, _, outcome):
                self._pins[outcome.value] += 1
                self._touch(program, at)
            case PolicyChanged(at):
                self._policy = policies.told(self._brain.policy, at)
                self._reserves = _reserves(self._brain)
                self.sweep(at)
            case EngineDown(at):
                self.sweep(at)
        for action in decision.actions:
            if isinstance(action, Retain | Release):
                self._touch(action.program, event.at)

    def call_arrived(self, life: Life) -> None:
        """It waits, or runs already."""
        self._touch(life.arrival.program, life.arrival.at)

    def call_waits(self, life: Life, at: Seconds) -> None:
        """It waits again."""
        self._moved.discard(life.arrival.call)
        self._touch(life.arrival.program, at)

    def call_dispatched(self, life: Life, at: Seconds) -> None:
        """It is on an engine."""
        if life.dispatch is not None and life.dispatch.why is Why.MOVED:
            self._moved.add(life.arrival.call)
        self._touch(life.arrival.program, at)

    def call_answers(self, life: Life, at: Seconds) -> None:
        """Its first token is there."""
        self._times["ttft"].add(at - life.arrival.at)
        self._touch(life.arrival.program, at)

    def call_ended(self, life: Life) -> None:
        """It is over."""
        self._moved.discard(life.arrival.call)
        if life.status is CallStatus.FINISHED:
            self._times["call"].add(life.ended - life.arrival.at)
        self._touch(life.arrival.program, life.ended)

    def program_ended(self, program: ProgramKey, at: Seconds) -> None:
        """It makes no more calls."""
        self._touch(program, at)

    def sweep(self, now: Seconds) -> None:
        """Looks at all programs."""
        for key in [key for key in self._told if key not in self._brain.programs]:
            self._drop(key, now)
        for key, program in self._brain.programs.items():
            self._see(key, program, now)

    # --- programs ---------------------------------------------------------------------------------------------------

    def _touch(self, key: ProgramKey, now: Seconds) -> None:
        program = self._brain.programs.get(key)
        if program is None:
            self._drop(key, now)
        else:
            self._see(key, program, now)

    def _see(self, key: ProgramKey, program: Program, now: Seconds) -> None:
        found = doing(program, self._brain.engines, self._moved, now, reserves=self._reserves)
        told = self._told.get(key)
        if told is None:
            if len(self._told) < MAX_PROGRAMS:
                self._meet(key, program, found)
            return
        before = told.doing
        if found == before:
            return
        self._count(key, before, -1)
        self._count(key, found, 1)
        if found.state is not before.state or found.engine != before.engine:
            told.since = _began(before, now)
            told.rested = _rested(told, now) if found.state.resting else None
        elif found.since != before.since and found.waiting + found.running <= 1:
            told.since = found.since
        told.doing = found
        self._changes.rows.append(_row(told))

    def _meet(self, key: ProgramKey, program: Program, found: Doing) -> None:
        self._slots += 1
        rested = found.since if found.state.resting else None
        told = self._told[key] = _Told(self._slots, program.arrived, found, found.since, rested)
        self._count(key, found, 1)
        self._changes.new.append(_identity(told.slot, key, program))
        self._changes.rows.append(_row(told))

    def _drop(self, key: ProgramKey, now: Seconds) -> None:
        told = self._told.pop(key, None)
        if told is None:
            return
        self._count(key, told.doing, -1)
        if not self._tenants[key.tenant].programs:
            del self._tenants[key.tenant]
        self._times["program"].add(_rested(told, now) - told.born)
        self._changes.gone.append(told.slot)

    def _count(self, key: ProgramKey, doing: Doing, sign: int) -> None:
        self._tenants.setdefault(key.tenant, _Tenant()).add(doing, sign)
        if doing.engine is not None and doing.tokens:
            self._engines.setdefault(doing.engine, _Sums()).add(doing, sign)

    # --- frames -----------------------------------------------------------------------------------------------------

    def whole(self, now: Seconds) -> Frame:
        """Everything as it was told last. To be asked for after `sweep` and `changes`, before anything else happens."""
        told = self._told.items()
        return {
            **self._sent,
            "engines": list(self._told_engines.values()),
            "at": round(now, 3),
            "whole": True,
            "new": [_identity(each.slot, key, self._brain.programs[key]) for key, each in told],
            "rows": [_row(each) for _, each in told],
        }

    def changes(self, now: Seconds) -> Frame:
        """What has changed since the last time, with everything the first time."""
        taken, self._changes = self._changes, _Changes()
        frame: Frame = {"at": round(now, 3)}
        lists = {"new": taken.new, "rows": taken.rows, "gone": taken.gone}
        frame |= {name: items for name, items in lists.items() if items}
        if engines := self._changed_engines():
            frame["engines"] = engines
        for name, value in self._figures().items():
            if self._sent.get(name) != value:
                frame[name] = self._sent[name] = value
        return frame

    def _changed_engines(self) -> list[list[object]]:
        rows = [*map(self._engine, self._brain.engines.values()), *self._others()]
        changed = [row for row in rows if self._told_engines.get(str(row[0])) != row]
        self._told_engines |= {str(row[0]): row for row in changed}
        return changed

    def _figures(self) -> Frame:
        """What is told whole whenever anything of it has changed."""
        return {
            "tenants": [[name, each.programs, each.waiting, each.running] for name, each in self._tenants.items()],
            "more": len(self._brain.programs) - len(self._told),
            "pins": dict(self._pins),
            "policy": self._policy,
        }

    def slow_figures(self) -> Frame:
        """What need not be told more than once a second: it is dear to compute."""
        times = {name: quantiles.told() for name, quantiles in self._times.items()}
        slow: Frame = {"times": times, "tuner": [list(note) for note in self._notes()]}
        changed = {name: value for name, value in slow.items() if self._sent.get(name) != value}
        self._sent |= changed
        return changed

    def _engine(self, engine: EngineState) -> list[object]:
        sums = self._engines.get(engine.id) or _Sums()
        account = engine.account
        return [
            engine.id,
            ", ".join(engine.spec.models),
            engine.status.value,
            account.capacity,
            engine.free,
            sums.active,
            sums.retained,
            sums.left,
            engine.foreign,
            len(engine.running),
            len(engine.members),
            engine.queued,
        ]

    def _others(self) -> Iterable[list[object]]:
        for name, model, status in self._absent():
            if name not in self._brain.engines:
                yield [name, model, status, *[0] * 9]


def _began(before: Doing, now: Seconds) -> Seconds:
    """When what comes after `before` began: now, or when its pin ran out."""
    return before.until if before.state is State.RETAINED and 0 < before.until < now else now


def _rested(told: _Told, now: Seconds) -> Seconds:
    return now if told.rested is None else told.rested


def _identity(slot: int, key: ProgramKey, program: Program) -> list[object]:
    parent = program.parent.program if program.parent else None
    return [slot, key.program, key.tenant, program.workflow, parent, round(program.arrived, 3)]


def _row(told: _Told) -> list[object]:
    now = told.doing
    return [
        told.slot,
        int(now.state),
        round(told.since, 3),
        now.engine,
        now.tokens,
        now.until,
        now.waiting,
        now.running,
        now.served,
    ]


def _reserves(brain: Brain) -> bool:
    return brain.policy.admission.name != "unlimited"
