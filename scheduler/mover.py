"""Moves programs off engines that leave: their contexts are computed elsewhere before they return."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.actions import Prewarm, Retain
from scheduler.alarms import Timer
from scheduler.departures import Leaver, by_least_loss, destination, destinations, movable, returns_in, takes
from scheduler.desk import Desk
from scheduler.keeper import Keeper
from scheduler.state import EngineState, Program
from scheduler.types import EngineId, ProgramKey, Seconds
from scheduler.view import View

PATIENCE: Seconds = 60.0
"""After which a move of which nothing was heard has failed."""


@dataclass(frozen=True, slots=True)
class Move:
    """One that is under way."""

    source: EngineId
    target: EngineId
    pinned_until: Seconds


class Mover:
    """One context at a time is computed on each engine, so that calls there wait for one at most."""

    def __init__(self, desk: Desk, keeper: Keeper) -> None:
        self._desk = desk
        self._keeper = keeper
        self._leaving: set[EngineId] = set()
        self._moves: dict[ProgramKey, Move] = {}

    def leave(self, engine: EngineId) -> None:
        """The engine is going to leave: its programs begin to move."""
        self._leaving.add(engine)
        self.go_on()

    def stay(self, engine: EngineId) -> None:
        """The engine does not leave any more, or is gone."""
        self._leaving.discard(engine)

    def remain(self, engine: EngineId) -> bool:
        """Whether moves off the engine are under way or could begin."""
        if any(move.source == engine for move in self._moves.values()):
            return True
        source = self._desk.books.engines.get(engine)
        return (
            engine in self._leaving
            and source is not None
            and bool(self._queue(source, destinations(self._view, source)))
        )

    def go_on(self) -> None:
        """Begins the moves that may begin now."""
        for name in sorted(self._leaving):
            source = self._desk.books.engines[name]
            busy = {move.target for move in self._moves.values()}
            free = [engine for engine in destinations(self._view, source) if engine.id not in busy]
            for leaver in self._queue(source, free):
                program = self._desk.books.programs[leaver.program]
                target = destination(self._view, program, free)
                if target is not None:
                    self._begin(program, source, target)
                    free.remove(target)

    def moved(self, key: ProgramKey, target: EngineId, *, done: bool) -> None:
        """A move has ended, or nothing was heard of it for too long."""
        move = self._moves.get(key)
        if move is None or move.target != target:
            return
        del self._moves[key]
        program, engine = self._desk.books.programs.get(key), self._desk.books.engines.get(target)
        if program is not None and program.gap_since is not None and program.engine == target and engine is not None:
            if not done:
                self._desk.books.leave(program)
                program.engine = None
            elif engine.spec.retention and program.member and move.pinned_until > self._desk.now:
                program.pin_until = move.pinned_until
                self._desk.actions.append(Retain(key, target, move.pinned_until - self._desk.now))
        self.go_on()

    @property
    def _view(self) -> View:
        return self._desk.view

    def _queue(self, source: EngineState, engines: list[EngineState]) -> list[Leaver]:
        """The programs that have somewhere to go, in the order of least loss."""
        leavers = []
        for program in movable(self._view, source):
            target = destination(self._view, program, engines)
            if target is not None and program.key not in self._moves:
                leavers.append(Leaver(program.key, takes(self._view, program, target), returns_in(self._view, program)))
        return by_least_loss(leavers)

    def _begin(self, program: Program, source: EngineState, target: EngineState) -> None:
        self._moves[program.key] = Move(source.id, target.id, program.pin_until)
        reserved = program.member
        self._keeper.release(program)
        self._desk.books.enrol(program, target)
        if not reserved:  # it had made way, and does so there
            self._desk.books.leave(program)
        self._desk.actions.append(Prewarm(program.key, target.id, program.rank))
        self._desk.alarms.set(self._desk.now + PATIENCE, Timer.MOVE, program.key)

    def overdue(self, key: ProgramKey) -> None:
        """An alarm has rung: if the move is still under way, it has failed."""
        move = self._moves.get(key)
        if move is not None:
            self.moved(key, move.target, done=False)
