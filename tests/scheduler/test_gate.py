"""Overseers, moving orders and bound calls: what the gate makes of policies that decide on more than one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from scheduler.admission.base import Admission, Occasion, Ruling, Verdict
from scheduler.admission.unlimited import Unlimited
from scheduler.listener import Listener
from scheduler.order.base import Moves
from scheduler.policy import Choice, PolicyConfig
from scheduler.registry import ADMISSION, ORDER, PLACEMENT
from scheduler.state import Call, EngineState, Program
from scheduler.types import EngineId, Seconds, Usage
from scheduler.view import View
from tests.scheduler.world import World, key, spec


@dataclass(frozen=True, slots=True)
class Warden(Unlimited, Listener):
    """Holds everything; says at ticks what the test has written down."""

    period: float = 5.0
    heard: list[str] = field(init=False, default_factory=list, repr=False, compare=False)
    rulings: ClassVar[dict[str, str | None]] = {}

    def holds(self, view: View, call: Call) -> bool:
        return not call.program.member

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        return Verdict.STOP

    def review(self, view: View, waiting: Sequence[Call], occasion: Occasion) -> Iterator[Ruling]:
        self.heard.append(occasion.value)
        if occasion is not Occasion.TICK:
            return
        for program in list(view.programs.values()):
            if program.key.program in self.rulings:
                name = self.rulings.pop(program.key.program)
                yield Ruling(program, None if name is None else view.engines[EngineId(name)])

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        self.heard.append(f"{call.program.key.program} finished with {call.output}")

    def gap_ended(self, view: View, program: Program, gap: Seconds) -> None:
        self.heard.append(f"{program.key.program} back after {gap:g}")

    def program_ended(self, view: View, program: Program) -> None:
        self.heard.append(f"{program.key.program} over")


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest prompt first, as long as the clock shows an even number of tens; then the shortest."""

    moves: ClassVar[Moves] = Moves.ALWAYS

    def key(self, view: View, call: Call) -> float:
        return call.prompt if view.now // 10 % 2 else -call.prompt

    def priority(self, view: View, call: Call) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class One(Unlimited):
    """One call at a time on each engine."""

    def holds(self, view: View, call: Call) -> bool:
        return True

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        return Verdict.STOP if engine.running else Verdict.ADMIT


@dataclass(frozen=True, slots=True)
class Alternating(Listener):
    """Binds the first call to the last engine, and so on."""

    binds: ClassVar[bool] = True

    bound: list[str] = field(init=False, default_factory=list, repr=False, compare=False)

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        return engines[-1 - len(self.bound) % len(engines)]

    def call_bound(self, view: View, call: Call, engine: EngineState) -> None:
        self.bound.append(f"{call.program.key.program} to {engine.id}")


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.registry.ADMISSION", {**ADMISSION, "warden": Warden, "one": One})
    monkeypatch.setattr("scheduler.registry.ORDER", {**ORDER, "longest": Longest})
    monkeypatch.setattr("scheduler.registry.PLACEMENT", {**PLACEMENT, "alternating": Alternating})
    monkeypatch.setattr(Warden, "rulings", {})


def world(admission: str, *, order: str = "fcfs", placement: str = "least_loaded", engines: str = "a") -> World:
    policy = PolicyConfig(
        "test",
        order=Choice(order),
        placement=Choice(placement),
        admission=Choice(admission),
        retention=Choice("none"),
    )
    return World(policy, {name: spec() for name in engines})


def test_an_overseer_is_asked_at_ticks_arrivals_and_ends() -> None:
    run = world("warden")
    warden = run.brain._desk.policies.overseer
    assert isinstance(warden, Warden)
    assert warden in run.brain._desk.policies.listeners
    run.later(20.0)
    assert warden.heard == [], "there are no ticks while there is no program"
    call = run.call("p")
    run.later(4.9)
    assert call in run.waiting
    Warden.rulings["p"] = "a"
    run.later(0.2)
    assert call in run.running
    run.finish(call)
    run.later(1.0)
    run.call("p", turns=2)
    run.end("p")
    assert warden.heard[:2] == ["arrival", "tick"]
    assert "p back after 1" in warden.heard


def test_a_program_in_its_gap_makes_way_at_once_and_its_next_call_waits() -> None:
    run = world("warden")
    Warden.rulings["p"] = "a"
    first = run.call("p")
    run.later(5.0)
    run.finish(first)
    Warden.rulings["p"] = None
    run.later(5.0)
    assert not run.brain.programs[key("p")].member
    second = run.call("p", turns=2)
    assert second in run.waiting
    Warden.rulings["p"] = "a"
    run.later(5.0)
    assert second in run.running


def test_a_program_with_a_call_makes_way_when_it_is_answered() -> None:
    run = world("warden")
    Warden.rulings["p"] = "a"
    first = run.call("p")
    run.later(5.0)
    Warden.rulings["p"] = None
    run.later(5.0)
    program = run.brain.programs[key("p")]
    assert (program.member, program.marked) == (True, True)
    run.finish(first)
    assert (program.member, program.marked) == (False, False)


def test_a_program_can_be_resumed_in_its_gap() -> None:
    run = world("warden", engines="ab")
    Warden.rulings["p"] = "a"
    first = run.call("p")
    run.later(5.0)
    run.finish(first)
    Warden.rulings["p"] = None
    run.later(5.0)
    Warden.rulings["p"] = "b"
    run.later(5.0)
    program = run.brain.programs[key("p")]
    assert (program.member, program.engine) == (True, "b")
    assert run.brain.engines[EngineId("b")].account.occupied == program.context > 0
    assert run.call("p", turns=2) in run.running


def test_an_order_that_moves_is_asked_anew() -> None:
    run = world("one", order="longest")
    running = run.call("first", tokens=100)
    calls = {tokens: run.call(f"p{tokens}", tokens=tokens) for tokens in (300, 500, 400)}
    run.finish(running)
    assert calls[500] in run.running
    run.later(10.0)
    run.finish(calls[500])
    assert calls[300] in run.running


def test_a_bound_call_waits_for_its_engine_until_that_goes_away() -> None:
    run = world("one", placement="alternating", engines="ab")
    on_b, on_a = run.call("p"), run.call("q")
    assert (run.running[on_b], run.running[on_a]) == ("b", "a")
    waiting = run.call("r")
    run.finish(on_a)
    assert waiting in run.waiting, "its engine is the other one"
    run.down("b")
    assert run.running[waiting] == "a"
    run.finish(waiting)
    assert run.running[on_b] == "a"
