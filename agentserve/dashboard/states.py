"""What a program is doing, as one word, from what the brain holds of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import NamedTuple

from scheduler.state import Call, EngineState, Program
from scheduler.types import CallId, EngineId, Seconds, Tokens


class State(IntEnum):
    """What a program is doing; of several calls that are under way the furthest counts. The value goes over the wire."""

    QUEUED = 0
    PREFILL = 1
    MOVED = 2
    """Prefill on another engine than the one that has its KV."""
    DECODE = 3
    RETAINED = 4
    """Between calls, its KV pinned or, where an engine cannot pin, its memory reserved."""
    GAP = 5
    """Between calls, its KV there only while nobody needs the room."""

    @property
    def active(self) -> bool:
        """A call of it is on an engine."""
        return self in (State.PREFILL, State.MOVED, State.DECODE)

    @property
    def resting(self) -> bool:
        """It has no call."""
        return self in (State.RETAINED, State.GAP)


class Doing(NamedTuple):
    """A program at one moment; `since` is when its present state began, as far as the brain knows."""

    state: State
    since: Seconds
    engine: EngineId | None
    """Where its KV is, or was last."""
    tokens: Tokens
    """What it holds there by the account; nothing while all its calls wait and it has no place."""
    until: Seconds
    """When its pin ends; 0 without one."""
    waiting: int
    running: int
    served: int


def doing(
    program: Program,
    engines: Mapping[EngineId, EngineState],
    moved: Collection[CallId],
    now: Seconds,
    *,
    reserves: bool,
) -> Doing:
    """What the program is doing.

    Args:
        program: the program.
        engines: all engines.
        moved: calls that left the engine with their program's KV.
        now: the time.
        reserves: the admission policy keeps others out of the memory of those who are in gaps.
    """
    running = [call for call in program.calls.values() if call.engine is not None]
    waiting = len(program.calls) - len(running)
    if running:
        state, since = _furthest(running, moved)
        tokens = sum(call.reached for call in running)
    elif program.calls:
        state, since = State.QUEUED, min(call.arrived for call in program.calls.values())
        tokens = program.context if program.member else 0
    else:
        state = State.RETAINED if _is_kept(program, engines, now, reserves=reserves) else State.GAP
        since = program.last_seen if program.gap_since is None else program.gap_since
        tokens = program.context if program.member else 0
    until = round(program.pin_until, 3) if program.pin_until > now else 0
    return Doing(state, since, program.engine, tokens, until, waiting, len(running), program.served)


def _furthest(running: list[Call], moved: Collection[CallId]) -> tuple[State, Seconds]:
    decoding = [call.first_token or call.dispatched for call in running if call.first_token or not call.streams]
    if decoding:
        return State.DECODE, min(decoding)
    latest = running[-1]
    return State.MOVED if latest.id in moved else State.PREFILL, latest.dispatched


def _is_kept(program: Program, engines: Mapping[EngineId, EngineState], now: Seconds, *, reserves: bool) -> bool:
    if program.pin_until > now:
        return True
    home = engines.get(program.engine) if program.engine is not None else None
    return program.member and reserves and home is not None and not home.spec.retention
