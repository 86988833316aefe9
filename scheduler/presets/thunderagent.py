"""ThunderAgent (arXiv 2602.13692; its released code at a7eef77): programs are paused and resumed as a whole.

A program *reasons* while a call of it waits or runs, and *acts* in its gaps. It is *active* on an engine (a member
there), where its calls enter without asking, or *paused* in one pool for all engines, where its calls wait. c is its
context in tokens, in a running call what there is of it so far. With C the KV tokens of an engine, R and A its active
programs that reason and that act, s the seconds a program has acted, and U the KV tokens that requests use:

    remaining = C - (sum_R c - shared) - acting_weight * sum_A c * decay^-s - buffer * (|R| + |A|)
    shared    = max(0, sum_R c - U), measured anew at each tick

At each tick programs are resumed, then paused:

- Resume (best fit decreasing): the pool in the order returned with a call, new, acting, and by ascending c within each;
  each is taken whose c + buffer fits into what is left of the sum of `remaining` over the engines with more than
  `buffer`. Those taken, by descending c, go each to the engine with the most left, or stay if it does not fit there.
- Pause, on each engine with remaining < 0, until it is not: the acting program with the smallest c at once; if none
  acts, the reasoning one with the smallest c is marked, and paused when its call is answered.

Between ticks only a new program may enter, if the pool is empty, on the engine with the fewest active tokens of those
with remaining >= c + buffer, here without decay. A call that has waited for `max_wait` goes to the engine its program
came from, or to the one with the fewest programs, whether there is room or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from scheduler.admission.base import Admission, Occasion, Ruling, Verdict
from scheduler.admission.unlimited import Unlimited
from scheduler.state import Call, EngineState, EngineStatus, Program
from scheduler.types import EngineId, ProgramKey, Seconds, Tokens
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class ThunderAgent(Unlimited):
    """Admission and placement. The defaults are the paper's rule.

    The released code is `decay` 1, `marks_free` off and `shared_credit` off. The original counts one context a program
    and would let a later of several calls replace an earlier one; here the contexts of calls that run side by side add
    up. It hears of output every 20 tokens, this one as often as the driver tells.

    Attributes:
        period: seconds between ticks.
        buffer: tokens reserved for the output of each active program.
        acting_weight: the weight of acting programs' tokens.
        decay: acting tokens are divided by this with each second in the gap; 1 for no decay.
        marks_free: a marked program's tokens count as free in the pause pass. Without it marking changes nothing, so
            that all reasoning programs of an engine are marked as soon as none acts there.
        shared_credit: prefixes that programs share are counted as often as the engine holds them, by its usage.
        max_wait: seconds after which a waiting call goes whether there is room or not.
    """

    binds: ClassVar[bool] = False

    period: float = 5.0
    buffer: int = 100
    acting_weight: float = 1.0
    decay: float = 2.0
    marks_free: bool = True
    shared_credit: bool = True
    max_wait: float = 1800.0
    _shared: dict[EngineId, Tokens] = field(init=False, default_factory=dict, repr=False, compare=False)

    # --- placement --------------------------------------------------------------------------------------------------

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        home = next((engine for engine in engines if engine.id == call.program.engine), None)
        if home is not None:
            return home
        if call.aged:
            return min(engines, key=lambda engine: len(engine.members))
        roomy = [engine for engine in engines if self._fits(view, call.program, engine)]
        return min(roomy or engines, key=_active_tokens)

    # --- admission --------------------------------------------------------------------------------------------------

    def holds(self, view: View, call: Call) -> bool:
        program = call.program
        if program.member:
            return False
        if program.served or len(program.calls) > 1:
            return True
        if any(_is_paused(other) for other in view.programs.values() if other is not program):
            return True
        return not any(
            _may_go(view, program, engine) and self._fits(view, program, engine) for engine in _healthy(view)
        )

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        """Only a tick lets calls out of the line."""
        return Verdict.STOP

    def longest_wait(self, view: View, call: Call) -> Seconds:
        return self.max_wait

    def review(self, view: View, waiting: Sequence[Call], occasion: Occasion) -> Iterator[Ruling]:
        if occasion is not Occasion.TICK:
            return
        engines = _healthy(view)
        if self.shared_credit:
            for engine in engines:
                self._measure_shared(engine)
        yield from self._resume(view, engines)
        for engine in engines:
            yield from self._pause(view, engine)

    # --- the two passes ---------------------------------------------------------------------------------------------

    def _resume(self, view: View, engines: Sequence[EngineState]) -> Iterator[Ruling]:
        left = {engine.id: self._remaining(view, engine, self.decay) for engine in engines}
        usable = [engine for engine in engines if left[engine.id] > self.buffer]
        for program in self._take(view, usable, sum(left[engine.id] for engine in usable)):
            wanted = _stored(program) + self.buffer
            places = [engine for engine in usable if _may_go(view, program, engine)]
            roomiest = max(places, key=lambda engine: left[engine.id])
            if wanted <= left[roomiest.id]:
                left[roomiest.id] -= wanted
                yield Ruling(program, roomiest)

    def _take(self, view: View, engines: Sequence[EngineState], total: float) -> list[Program]:
        """The paused programs that fit into `total` tokens, largest first. Each may go to one of the engines."""
        pool = (
            program
            for program in view.programs.values()
            if _is_paused(program) and any(_may_go(view, program, engine) for engine in engines)
        )
        taken = []
        for program in sorted(pool, key=_turn):
            wanted = _stored(program) + self.buffer
            if wanted <= total:
                total -= wanted
                taken.append(program)
        return sorted(taken, key=lambda program: (-_stored(program), program.arrived, program.key))

    def _pause(self, view: View, engine: EngineState) -> Iterator[Ruling]:
        remaining = self._remaining(view, engine, self.decay)
        if remaining >= 0:
            return
        members = sorted(engine.members.values(), key=_smallest_first)
        acting = [program for program in members if not program.calls]
        reasoning = [program for program in members if program.calls and not program.marked]
        if self.marks_free:
            remaining += sum(_tokens(program) for program in members if program.marked)
        for program in acting:
            if remaining >= 0:
                return
            remaining += self._acting(view, program, self.decay) + self.buffer
            yield Ruling(program, None)
        for program in reasoning:
            if remaining >= 0:
                return
            if self.marks_free:
                remaining += _tokens(program)
            yield Ruling(program, None)

    # --- memory -----------------------------------------------------------------------------------------------------

    def _fits(self, view: View, program: Program, engine: EngineState) -> bool:
        return self._remaining(view, engine, 1.0) >= _stored(program) + self.buffer

    def _remaining(self, view: View, engine: EngineState, decay: float) -> float:
        reasoning = acting = 0.0
        for program in engine.members.values():
            if program.calls:
                reasoning += _tokens(program)
            else:
                acting += self._acting(view, program, decay)
        private = max(reasoning - self._shared.get(engine.id, 0), 0.0)
        return engine.account.capacity - private - acting - self.buffer * len(engine.members)

    def _acting(self, view: View, program: Program, decay: float) -> float:
        """What an acting program counts for, in tokens."""
        return self.acting_weight * program.context * math.pow(decay, program.last_seen - view.now)

    def _measure_shared(self, engine: EngineState) -> None:
        """Takes what the engine does not hold of its calls for shared, as of its latest scrape.

        Requests that wait inside the engine hold nothing, so while there are any, no more is believed than before.
        """
        shared = max(0, engine.drift)
        if engine.queued:
            shared = min(shared, self._shared.get(engine.id, 0))
        self._shared[engine.id] = shared


def _healthy(view: View) -> list[EngineState]:
    return [engine for engine in view.engines.values() if engine.status is EngineStatus.UP]


def _may_go(view: View, program: Program, engine: EngineState) -> bool:
    """Whether the engine serves the program, and has not failed a call of it that waits."""
    if program.calls:
        calls = program.calls.values()
        return all(call.model in engine.spec.models and engine.id not in call.failed_on for call in calls)
    home = None if program.engine is None else view.engines.get(program.engine)
    return home is not None and any(model in engine.spec.models for model in home.spec.models)


def _is_paused(program: Program) -> bool:
    """Whether the program is in the pool. One that lost its engine in a gap is not, until it comes back."""
    return not program.member and (bool(program.calls) or program.engine is not None)


def _turn(program: Program) -> tuple[int, Tokens, Seconds, ProgramKey]:
    """A paused program's place in the resume pass."""
    if not program.calls:
        group = 2
    else:
        group = 0 if program.served else 1
    return group, _stored(program), program.arrived, program.key


def _smallest_first(program: Program) -> tuple[Tokens, Seconds, ProgramKey]:
    return _tokens(program), program.arrived, program.key


def _tokens(program: Program) -> Tokens:
    """The context of an active program as it is now."""
    return sum(call.prompt + call.output for call in program.calls.values()) or program.context


def _stored(program: Program) -> Tokens:
    """The context of a paused program: that of its pause, or of the calls that a new one waits with."""
    return program.context or _tokens(program)


def _active_tokens(engine: EngineState) -> Tokens:
    return sum(_tokens(program) for program in engine.members.values())
