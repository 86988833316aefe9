"""The keeper of programs between their calls: pins, how long a gap may last, and when a program has ended."""

from __future__ import annotations

import math

from scheduler.actions import Release, Retain
from scheduler.alarms import Timer
from scheduler.desk import Desk
from scheduler.state import EngineState, Program
from scheduler.types import ProgramKey, Seconds
from scheduler.workflows import chains


class Keeper:
    """Everything that happens to a program while none of its calls waits or runs."""

    def __init__(self, desk: Desk, idle_timeout: Seconds) -> None:
        self._desk = desk
        self.idle_timeout = idle_timeout

    def meet(self, program: Program) -> None:
        """A new program: it will have ended when it has been silent for too long."""
        self._desk.alarms.set(self._desk.now + self.idle_timeout, Timer.IDLE, program.key)

    def rest(self, program: Program, tools: tuple[str, ...], carried: Seconds) -> None:
        """After a call has ended: the program goes on with others, ends, or rests in a gap.

        `carried` is the time-to-live of the pin the engine has set by itself, NaN where that is not known.
        """
        if program.calls:
            return
        if program.ending or not program.served:
            self.end(program)
            return
        engine = self._desk.books.home(program)
        if not program.member or engine is None:
            return
        program.gap_since = self._desk.now
        program.gap_tools = tools
        program.gap_overdue = False
        self._desk.books.rest(program, engine)
        self._stay(program, engine, carried)

    def make_way(self, program: Program) -> None:
        """The program is no member any more, now or after its present calls."""
        program.marked = bool(program.calls)
        if not program.marked:
            self.release(program)
            self._desk.books.leave(program)

    def come_back(self, program: Program, *, extends: bool) -> None:
        """The program's next call has arrived: learns how long its gap was, and if its KV is of use (`extends`)."""
        if program.gap_since is None:
            return
        self._learn_return(program, useful=extends)
        gap = self._desk.now - program.gap_since
        self._desk.books.learned.gaps.observe(program.key.tenant, program.gap_tools, gap)
        for listener in self._desk.policies.listeners:
            listener.gap_ended(self._desk.view, program, gap)
        program.gap_since = None
        program.expected_gap = None

    def name_tool(self, program: Program, tool: str) -> None:
        """The agent says which tool it runs in the present gap."""
        if program.gap_since is not None:
            program.gap_tools = (tool,)
            self.look_again(program)

    def look_again(self, program: Program) -> None:
        """The agent has said something about the present gap: decides anew how long it may last, from now on."""
        engine = self._desk.books.home(program)
        if program.gap_since is not None and program.member and engine is not None:
            self._stay(program, engine, math.nan)

    def gap_too_long(self, key: ProgramKey, gap: int) -> None:
        """An alarm for a gap has rung: if it is still that gap, the program makes way."""
        program = self._desk.books.programs.get(key)
        if program is not None and program.gap_number == gap and program.gap_since is not None:
            self._learn_return(program, useful=False)
            program.gap_overdue = True
            self.release(program)
            self._desk.books.leave(program)

    def silent(self, key: ProgramKey) -> None:
        """An alarm for silence has rung: the program has ended, or the alarm is set anew."""
        program = self._desk.books.programs.get(key)
        if program is None:
            return
        deadline = program.last_seen + self.idle_timeout
        if program.calls or deadline > self._desk.now:
            self._desk.alarms.set(max(deadline, self._desk.now + self.idle_timeout / 2), Timer.IDLE, key)
        else:
            self.end(program)

    def release(self, program: Program) -> None:
        """Ends the program's pin, if it has one."""
        engine = self._desk.books.home(program)
        if engine is not None and engine.spec.retention and program.pin_until > self._desk.now:
            self._desk.actions.append(Release(program.key, engine.id))
        program.pin_until = 0.0

    def end(self, program: Program) -> None:
        """The program has ended: forgets it, and learns from what it was."""
        if program.gap_since is not None:
            self._learn_return(program, useful=False)
        self.release(program)
        self._desk.books.leave(program)
        for listener in self._desk.policies.listeners:
            listener.program_ended(self._desk.view, program)
        learned = self._desk.books.learned
        if program.served:
            stats = learned.workflow(program.key.tenant, program.kind)
            stats.peak.add(program.peak)
            stats.calls.add(program.served)
            learned.took(stats, program.work)
            learned.turns.add_program(program.served)
            self._learn_stages(program)
        del self._desk.books.programs[program.key]

    def _learn_stages(self, program: Program) -> None:
        """What came after each of the program's calls, and how often it made those of each stage."""
        learned, (tenant, _), workflow = self._desk.books.learned, program.key, program.workflow
        for answered, ahead in zip(program.answered, chains(program.answered), strict=True):
            learned.stage((tenant, workflow, answered.stage)).ended(answered.number, ahead)
        for stage, calls in program.stages.items():
            learned.stage((tenant, workflow, stage)).repeated(calls)

    def _learn_return(self, program: Program, *, useful: bool) -> None:
        """What became of a gap. One that was overdue has counted as lost, which a return takes back."""
        stats = self._desk.books.learned.workflow(program.key.tenant, program.kind)
        returns = stats.returns(program.served)
        if not program.gap_overdue:
            returns.add(float(useful))
        elif useful:
            returns.raise_last()

    def _stay(self, program: Program, engine: EngineState, carried: Seconds) -> None:
        """Pins a member in its gap, and sets the alarm for the time at which it makes way."""
        policies, view = self._desk.policies, self._desk.view
        ttl = stays = 0.0
        if not program.marked:
            ttl = policies.retention.at_finish(view, program, engine)
            stays = policies.admission.stays(view, program, ttl)
        if stays > 0:
            self._pin(program, engine, ttl, carried)
            program.gap_number += 1
            self._desk.alarms.set(self._desk.now + stays, Timer.GAP, program.key, program.gap_number)
        else:
            self._pin(program, engine, 0.0, carried)
            self._desk.books.leave(program)

    def _pin(self, program: Program, engine: EngineState, ttl: Seconds, carried: Seconds) -> None:
        """Brings the pin that the engine may have set by itself to `ttl` seconds from now; 0 takes it back."""
        program.pin_until = 0.0
        if not engine.spec.retention:
            return
        if ttl > 0:
            program.pin_until = self._desk.now + ttl
        if ttl != carried:
            self._desk.actions.append(
                Retain(program.key, engine.id, ttl) if ttl > 0 else Release(program.key, engine.id)
            )
